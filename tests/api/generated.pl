# SPDX-License-Identifier: Apache-2.0
#
# generated.pl SOCKET LODGE.JSON KERNEL INITRD CMDLINE: the life of a VM by a client that is made of lodge.json (with schemas.json beside it) alone, by OpenAPI::Client, which
# also checks the description itself, each request before it is sent.
use strict;
use warnings;
use Mojo::JSON "true";
use Mojo::Util 'url_escape';
use OpenAPI::Client;

my ($socket, $description, $kernel, $initrd, $cmdline) = @ARGV;
my $client = OpenAPI::Client->new("file://$description", base_url => "http+unix://" . url_escape($socket));
$client->ua->inactivity_timeout(120);    # longer than an operation is waited for
my $bad = 0;

sub expect {
    my ($what, $got, $wanted) = @_;
    print $got eq $wanted ? "ok   $what\n" : "FAIL $what: $got, not $wanted\n";
    $bad = 1 if $got ne $wanted;
}

# Begun by `$tx`: its state when it has ended.
sub operation {
    my ($tx) = @_;
    my $answer = $client->getOperation({id => $tx->res->json->{id}, wait => 60});
    return $answer->res->json->{state} // $answer->res->body;
}

my $words = ["--engine", "soft", "--kernel", $kernel, "--initrd", $initrd, "-m", "128M", "--cmdline", $cmdline];
expect("getServer", $client->getServer({})->res->json->{api}, "1.0");
expect("createVm", $client->createVm({body => {name => "made", words => $words, restart => "no"}})->res->code, 201);
expect("createVm again", $client->createVm({body => {name => "made", words => $words}})->res->json->{error}{id}, "exists");
expect("startVm", operation($client->startVm({name => "made"})), "done");
expect("getVm", $client->getVm({name => "made"})->res->json->{state}, "running");
expect("getInfo", $client->getInfo({name => "made"})->res->json->{state}, "running");
expect("explainVm", $client->explainVm({name => "made"})->res->json->{state}, "running");
expect("getHost", $client->getHost({})->res->json->{vms}{running}, 1);
expect("askGuest", $client->askGuest({name => "made", body => {command => "fs-status", wait => 60}})->res->json->{result}, "thawed");
expect("addNet", $client->addNet({name => "made", body => {net => "user"}})->res->json->{id}, "net0");
expect("removeNet", $client->removeNet({name => "made", body => {net => "net0", force => true}})->res->code, 204);
expect("addDisk of none", $client->addDisk({name => "made", body => {disk => "/none"}})->res->json->{error}{id}, "not-found");
expect("pauseVm", $client->pauseVm({name => "made"})->res->code, 204);
expect("stopVm", operation($client->stopVm({name => "made", body => {force => true}})), "done");
expect("getEnd", $client->getEnd({name => "made"})->res->json->{cause}, "quit");
expect("listVms", join(" ", map { $_->{name} } @{$client->listVms({state => "stopped"})->res->json->{vms}}), "made");
expect("listOperations", scalar @{$client->listOperations({vm => "made", limit => 10})->res->json->{operations}}, 2);
expect("removeVm", $client->removeVm({name => "made"})->res->code, 204);
expect("getVm of what is gone", $client->getVm({name => "made"})->res->json->{error}{id}, "not-found");
my $tx = $client->listVms({limit => 0});
expect("what the description does not allow is not sent", $tx->error ? "error" : "sent", "error");
exit $bad;
