#!/usr/bin/perl
# What Mail::AuthenticationResults reads in fields: a JSON list of values comes in, for each {id, results: [[method,
# result, {"ptype.property": value}]]} or {error} goes out.
use strict;
use warnings;
use JSON::PP;
use Mail::AuthenticationResults::Parser;

sub results {
    my ($header) = @_;
    my @results;
    for my $entry (grep { ref($_) =~ /::Entry$/ } @{ $header->children() }) {
        my @parts = grep { ref($_) =~ /::SubEntry$/ && $_->key() ne 'reason' } @{ $entry->children() };
        my %properties = map { $_->key() => $_->value() } @parts;
        push @results, [ $entry->key(), $entry->value(), \%properties ];
    }
    return { id => $header->value()->value(), results => \@results };
}

local $/;
my @read = map {
    my $value = $_;
    eval { results(Mail::AuthenticationResults::Parser->new()->parse($value)) } || { error => "$@" };
} @{ decode_json(<STDIN>) };
print encode_json(\@read);
