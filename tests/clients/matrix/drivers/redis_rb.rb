# redis-rb: one object that threads share writes to one connection.

require 'json'
require 'redis'

SECONDS = 60
Group = Struct.new(:key, :sessions, :token, :value)

def group(user, token, bytes)
  Group.new("rt:#{user}:#{token}", "sess:#{user}", token, 'v' * bytes)
end

def connect(port)
  Redis.new(host: '127.0.0.1', port: port, timeout: SECONDS)
end

def send_group(client, group)
  client.pipelined do |pipe|
    pipe.setex(group.key, SECONDS, group.value)
    pipe.sadd(group.sessions, [group.token])
    pipe.expire(group.sessions, SECONDS)
    pipe.smembers(group.sessions)
  end
end

def play(job, client, caller)
  caller.step(job['groups'] - 1, job['callers']).map do |n|
    group = group("#{job['name']}-#{n}", "t#{n}", job['bytes'])
    start = Process.clock_gettime(Process::CLOCK_MONOTONIC, :microsecond)
    replies = send_group(client, group)
    took = Process.clock_gettime(Process::CLOCK_MONOTONIC, :microsecond) - start
    raise "wrong replies: #{replies}" unless replies == ['OK', 1, true, [group.token]]

    took
  end
end

def outcome
  yield.inspect
rescue StandardError => e
  "#{e.class}: #{e.message}"
end

def checks(port)
  client, other = connect(port), connect(port)
  client.set('sess:bad', 'text')
  said = { 'handshake' => outcome { [client.ping, client.client(:getname)] } }
  said['error in a group'] = outcome { send_group(client, group('bad', 't', 1)) }
  other.del('killed')
  other.client(:kill, 'ID', client.call(['CLIENT', 'ID']).to_s)
  sleep 0.2
  said['killed connection'] = [outcome { client.incr('killed') }, outcome { client.incr('killed') }, other.get('killed')]
  said
end

def answer(job)
  return { said: checks(job['port']) } if job['style'] == 'checks'

  client = connect(job['port'])
  { took_us: Array.new(job['callers']) { |caller| Thread.new { play(job, client, caller) } }.flat_map(&:value) }
rescue StandardError => e
  { failed: e.full_message }
end

$stdout.sync = true
puts({ version: Redis::VERSION, styles: %w[pipeline pipelines] }.to_json)
$stdin.each_line { |line| puts answer(JSON.parse(line)).to_json }
