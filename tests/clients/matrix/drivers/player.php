<?php
// Plays groups of four commands in a client's style, as asked on standard input, and times each.

const SECONDS = 60;
// In which a connection that was killed is certainly closed.
const KILLED_MICROSECONDS = 200_000;

function note($to, array $group)
{
    $to->setex($group['key'], SECONDS, $group['value']);
    $to->sadd($group['sessions'], [$group['token']]);
    $to->expire($group['sessions'], SECONDS);
    $to->smembers($group['sessions']);
}

function group(string $user, string $token, int $bytes): array
{
    return ['key' => "rt:$user:$token", 'sessions' => "sess:$user", 'token' => $token, 'value' => str_repeat('v', $bytes)];
}

// Sends the job's groups one after the other by $send; gives how long each took.
function play(array $job, callable $send): array
{
    $took = [];
    for ($n = 0; $n < $job['groups']; $n++) {
        $group = group("{$job['name']}-$n", "t$n", $job['bytes']);
        $start = hrtime(true);
        [$ok, $added, $expires, $members] = $send($group);
        $took[] = intdiv(hrtime(true) - $start, 1000);
        if ((string) $ok !== ($ok === true ? '1' : 'OK') || (int) $added !== 1 || (int) $expires !== 1 || $members !== [$group['token']]) {
            throw new Exception('wrong replies: ' . json_encode([(string) $ok, $added, $expires, $members]));
        }
    }
    return $took;
}

function outcome(callable $call): string
{
    try {
        return json_encode($call());
    } catch (Throwable $error) {
        return get_class($error) . ': ' . preg_replace('/:\d+\]?/', '', $error->getMessage());
    }
}

// Answers each job, a line of JSON, with a line; $checks tell what the client shows its user.
function serve(string $version, callable $pipeline, array $checks): void
{
    echo json_encode(['version' => $version, 'styles' => ['pipeline']]), "\n";
    while (($line = fgets(STDIN)) !== false) {
        $job = json_decode($line, true);
        try {
            if ($job['style'] === 'checks') {
                $answer = ['said' => array_map(fn ($check) => $check($job['port']), $checks)];
            } else {
                $answer = ['took_us' => $pipeline($job)];
            }
        } catch (Throwable $error) {
            $answer = ['failed' => (string) $error];
        }
        echo json_encode($answer), "\n";
    }
}
