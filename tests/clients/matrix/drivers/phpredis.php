<?php
// phpredis, the extension in C.

require __DIR__ . '/player.php';

function connect(int $port): Redis
{
    $client = new Redis();
    $client->connect('127.0.0.1', $port);
    return $client;
}

function send(Redis $client, array $group): array
{
    $pipe = $client->multi(Redis::PIPELINE);
    $pipe->setex($group['key'], SECONDS, $group['value']);
    $pipe->sAdd($group['sessions'], $group['token']);
    $pipe->expire($group['sessions'], SECONDS);
    $pipe->sMembers($group['sessions']);
    return $pipe->exec();
}

serve(
    phpversion('redis'),
    function (array $job): array {
        $client = connect($job['port']);
        return play($job, fn (array $group) => send($client, $group));
    },
    [
        'handshake' => fn (int $port) => outcome(fn () => [connect($port)->ping(), connect($port)->client('GETNAME')]),
        'error in a group' => function (int $port): string {
            $client = connect($port);
            $client->set('sess:bad', 'text');
            return outcome(fn () => send($client, group('bad', 't', 1))) . $client->getLastError();
        },
        'killed connection' => function (int $port): array {
            [$client, $other] = [connect($port), connect($port)];
            $other->del('killed');
            $other->rawCommand('CLIENT', 'KILL', 'ID', (string) $client->rawCommand('CLIENT', 'ID'));
            usleep(KILLED_MICROSECONDS);
            return [outcome(fn () => $client->incr('killed')), outcome(fn () => $client->incr('killed')), $other->get('killed')];
        },
    ],
);
