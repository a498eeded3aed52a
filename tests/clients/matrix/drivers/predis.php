<?php
// predis, the client in PHP.

require 'Predis/Autoloader.php';
require __DIR__ . '/player.php';

Predis\Autoloader::register();

function connect(int $port): Predis\Client
{
    return new Predis\Client(['host' => '127.0.0.1', 'port' => $port]);
}

function send(Predis\Client $client, array $group): array
{
    return $client->pipeline(fn ($pipe) => note($pipe, $group));
}

serve(
    Predis\Client::VERSION,
    function (array $job): array {
        $client = connect($job['port']);
        return play($job, fn (array $group) => send($client, $group));
    },
    [
        'handshake' => fn (int $port) => outcome(fn () => (string) connect($port)->ping()),
        'error in a group' => function (int $port): string {
            $client = connect($port);
            $client->set('sess:bad', 'text');
            return outcome(fn () => send($client, group('bad', 't', 1)));
        },
        'killed connection' => function (int $port): array {
            [$client, $other] = [connect($port), connect($port)];
            $other->del('killed');
            $other->client('KILL', 'ID', (string) $client->executeRaw(['CLIENT', 'ID']));
            usleep(KILLED_MICROSECONDS);
            return [outcome(fn () => $client->incr('killed')), outcome(fn () => $client->incr('killed')), $other->get('killed')];
        },
    ],
);
