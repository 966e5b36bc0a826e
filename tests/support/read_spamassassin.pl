#!/usr/bin/perl
# What SpamAssassin's AuthRes and SPF plugins make of messages: its configuration is the file that is named, a JSON list
# of messages comes in. For each goes out what AuthRes parsed (results by method), which rules hit, and what was said of
# fields that could not be read. Looks at nothing beyond this machine.
use strict;
use warnings;
use JSON::PP;
use Mail::SpamAssassin;

my @said;
{
    no warnings qw(redefine once);
    require Mail::SpamAssassin::Plugin::AuthRes;
    *Mail::SpamAssassin::Plugin::AuthRes::dbg = sub { push @said, sprintf shift, @_ };
}
local $/;
my ($file, $state) = @ARGV;
open my $config, '<', $file or die "$file: $!";
my $spamassassin = Mail::SpamAssassin->new({
    config_text => <$config>, local_tests_only => 1, dont_copy_prefs => 1,
    userprefs_filename => '/dev/null', userstate_dir => $state, home_dir_for_helpers => $state,
});
my @read;
for my $text (@{ decode_json(<STDIN>) }) {
    @said = ();
    my $message = $spamassassin->parse($text);
    my $status = $spamassassin->check($message);
    my @hits = split /,/, $status->get_names_of_tests_hit();
    push @read, {
        parsed => $status->{authres_parsed} || {},
        hits   => \@hits,
        # 4.0.0, which Ubuntu 24.04 has, passes over fields with header.s, and with a result that has a comment alone.
        old    => Mail::SpamAssassin->VERSION < 4.000001 ? JSON::PP::true : JSON::PP::false,
        errors => [ grep { /skipping header|no Authentication-Results/ } @said ],
    };
    $status->finish();
    $message->finish();
}
print encode_json(\@read);
