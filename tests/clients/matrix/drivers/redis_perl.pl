# Redis.pm and Redis::Fast: perl redis_perl.pl MODULE. A pipeline is calls with a callback each, then a wait for all.

use strict;
use warnings;
use JSON::PP;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $module = shift;
eval "require $module; 1" or die $@;
my $seconds = 60;
$| = 1;

sub connect_to { $module->new(server => "127.0.0.1:$_[0]", reconnect => 2, every => 1000) }

sub send_group {
    my ($client, $user, $token, $bytes) = @_;
    my @replies;
    my $note = sub { my ($reply, $error) = @_; push @replies, $error // $reply };
    $client->setex("rt:$user:$token", $seconds, 'v' x $bytes, $note);
    $client->sadd("sess:$user", $token, $note);
    $client->expire("sess:$user", $seconds, $note);
    $client->smembers("sess:$user", $note);
    $client->wait_all_responses;
    return \@replies;
}

sub play {
    my ($job) = @_;
    my $client = connect_to($job->{port});
    my @took;
    for my $n (0 .. $job->{groups} - 1) {
        my $start = clock_gettime(CLOCK_MONOTONIC);
        my $replies = send_group($client, "$job->{name}-$n", "t$n", $job->{bytes});
        push @took, int((clock_gettime(CLOCK_MONOTONIC) - $start) * 1e6);
        my ($ok, $added, $expires, $members) = @$replies;
        die 'wrong replies: ' . encode_json($replies)
            unless $ok eq 'OK' && $added == 1 && $expires == 1 && "@$members" eq "t$n";
    }
    return \@took;
}

sub outcome {
    my ($call) = @_;
    my $value = eval { encode_json([$call->()]) };
    return $value // (split / at /, $@)[0];
}

sub checks {
    my ($port) = @_;
    my ($client, $other) = (connect_to($port), connect_to($port));
    $client->set('sess:bad', 'text');
    $other->del('killed');
    my %said = (handshake => outcome(sub { $client->ping }), 'error in a group' => outcome(sub { send_group($client, 'bad', 't', 1) }));
    $other->client_kill('ID', $client->client_id);
    Time::HiRes::sleep(0.2);
    $said{'killed connection'} = [outcome(sub { $client->incr('killed') }), outcome(sub { $other->get('killed') })];
    return \%said;
}

print encode_json({ version => $module->VERSION, styles => ['pipeline'] }), "\n";
while (my $line = <STDIN>) {
    my $job = decode_json($line);
    my $answer = eval { $job->{style} eq 'checks' ? { said => checks($job->{port}) } : { took_us => play($job) } };
    print encode_json($answer // { failed => $@ }), "\n";
}
