
use builtin;
use str;

set edit:completion:arg-completer[triquest-lm] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'triquest-lm'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'triquest-lm'= {
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
            cand backup 'The same as `journal backup`'
            cand checkout 'Take a seat for a script and keep it until `release`'
            cand clock 'Believe the server''s clock again after a jump'
            cand completions 'Print the completion script of a shell'
            cand doctor 'Look in order whether everything is well between this computer and its server'
            cand events 'Show what has happened, and what happens'
            cand find 'Look for license servers near, and at who they are'
            cand journal 'Check, save and restore what the server keeps'
            cand license 'Make, check, install and list licenses'
            cand man 'Write the manual pages into a folder'
            cand port 'Tell what is on a port: registered for, listening here, genuine, what to do'
            cand presence 'Let the end of a program free its seats at once again'
            cand quarantine 'End the wait of a server that was restored or lost its history'
            cand quickstart 'Show the whole job on this machine: vendor, license, server, three clients'
            cand quickstart-client '`quickstart-client`: one of the three programs that want a seat. Obeys lines on its standard input, reports in JSON on its standard output'
            cand reclaim 'Take a lease back from its holder'
            cand release 'Give back a seat that `checkout` took'
            cand restore 'The same as `journal restore`'
            cand run 'Run a program while a seat is held for it'
            cand run-program '`run-program GO FAILED -- PROGRAM NAME ARGUMENTS`: started by `run` while it asks for the seat'
            cand run-watcher '`run-watcher PROGRAM`: started by `run` before it stops itself together with its program'
            cand seat 'Ask whether a seat that `checkout` took still holds'
            cand serve 'Run the server'
            cand server 'Ask what the server of this machine is'
            cand status 'Show who holds what, since when, how idle'
            cand vendor 'Make and rotate the vendor''s signing keys'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'triquest-lm;backup'= {
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;checkout'= {
            cand -f 'Feature to check out, with seats and version of its own if given; several are granted all or none'
            cand --feature 'Feature to check out, with seats and version of its own if given; several are granted all or none'
            cand --seats 'Seats of each feature that names none'
            cand --version 'The program''s version, for each feature that names none'
            cand --wait 'Wait for a seat for at most so long, such as 90s, 30m, 2h: in line, and for a server whose disk is full or that was restored'
            cand --server 'License servers, such as 1588@HOST, several with commas [default: TRIQUEST_LM_SERVER, else client.toml of the user or the machine, else DNS SRV]'
            cand --verifier-key 'The vendor''s verifier key (or a file that holds it), several with commas'
            cand --project 'Project that the use is booked to'
            cand --lease-file 'Where to write the lease file [default: a new one in $XDG_RUNTIME_DIR/triquest-lm]'
            cand --for 'Give the seat back when this process has ended'
            cand --on-lost 'What becomes of the process of --for if its seat is lost, after every grace'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --accept-any-server 'Accept a license with servers = "any", which anyone who has the file can serve'
            cand --hold 'Stay in the foreground and hold the seat until a signal'
            cand --keeper 'The process that keeps the seat'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'triquest-lm;clock'= {
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
            cand accept 'Believe the server''s wall clock as it stands now, after a jump that it held back'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'triquest-lm;clock;accept'= {
            cand --reason 'Why, for the record'
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;clock;help'= {
            cand accept 'Believe the server''s wall clock as it stands now, after a jump that it held back'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'triquest-lm;clock;help;accept'= {
        }
        &'triquest-lm;clock;help;help'= {
        }
        &'triquest-lm;completions'= {
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;doctor'= {
            cand -f 'The feature whose seats matter'
            cand --feature 'The feature whose seats matter'
            cand --verifier-key 'The vendor''s verifier key (or a file that holds it), several with commas [env: TRIQUEST_LM_VERIFIER_KEY]'
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --accept-any-server 'Accept a license with servers = "any", as programs do that are told to'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;events'= {
            cand --after 'Begin after this cursor (LINEAGE.EPOCH.INDEX.NUMBER, as --json shows it under "cursor")'
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -f 'Go on with what happens, until Ctrl-C'
            cand --follow 'Go on with what happens, until Ctrl-C'
            cand --json 'One JSON object on each line'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;find'= {
            cand -f 'Show the seats of this feature too; needs --verifier-key; may be repeated'
            cand --feature 'Show the seats of this feature too; needs --verifier-key; may be repeated'
            cand --domain 'Ask DNS about this domain instead of those of this machine'
            cand --timeout 'Listen for so long for answers of the network, such as 2s'
            cand --port 'The port to ask over UDP'
            cand --verifier-key 'The vendor''s verifier key (or a file that holds it), several with commas [env: TRIQUEST_LM_VERIFIER_KEY]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --no-mdns 'Do not listen for mDNS'
            cand --remember 'Keep the keys that are proved now in ~/.local/share/triquest-lm/known_servers: from then on they are known, and another one is called out. Loopback and link-local addresses are never kept'
            cand --json 'As JSON: {"servers": [...], "looked": [...]}'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;journal'= {
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
            cand backup 'Save the journal and the server''s key into one file, while the server runs or not'
            cand check 'Read a journal or a backup from end to end and say whether it is whole; nothing is changed'
            cand restore 'Bring a backup back into a new data directory'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'triquest-lm;journal;backup'= {
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;journal;check'= {
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --json 'As JSON'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;journal;restore'= {
            cand --quarantine 'Grant nothing new for so long, at most 24h, if that is longer than what the licenses known here may have promised; 24h is certain'
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;journal;help'= {
            cand backup 'Save the journal and the server''s key into one file, while the server runs or not'
            cand check 'Read a journal or a backup from end to end and say whether it is whole; nothing is changed'
            cand restore 'Bring a backup back into a new data directory'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'triquest-lm;journal;help;backup'= {
        }
        &'triquest-lm;journal;help;check'= {
        }
        &'triquest-lm;journal;help;restore'= {
        }
        &'triquest-lm;journal;help;help'= {
        }
        &'triquest-lm;license'= {
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
            cand convert 'Write a license as a file or on one line; both are the same license'
            cand new 'Write a draft, from nothing, a template or JSON'
            cand renew 'Write and sign the license that follows an old one'
            cand show 'Show what a license says'
            cand sign 'Sign a draft'
            cand verify 'Check a license against its vendor''s verifier keys'
            cand install 'Install licenses on the server of this machine, while it runs'
            cand list 'List the licenses of the server of this machine'
            cand remove 'Take a license off the server; its seats end with the promises already made'
            cand request 'Write the signed request that a vendor needs to make a license for this server'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'triquest-lm;license;convert'= {
            cand --to 'What to write'
            cand -o 'Write to this file instead of standard output'
            cand --output 'Write to this file instead of standard output'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'triquest-lm;license;new'= {
            cand --id 'The license''s id: your own number for it'
            cand --template 'A draft to start from, whose comments stay; or a signed license, without its id, vendor, date of issue and signatures'
            cand --from-json 'JSON to start from: {"license": ..., "licensee": ..., "servers": [...], "entitlement": [{"feature": ..., "seats": ...}]}'
            cand --set 'Set a value in the draft, like licensee="Initech GmbH" or entitlement.cad-pro.seats=25; an empty one takes it out'
            cand --server-request 'Let the server serve it that made this request (`triquest-lm license request`), once checked'
            cand -o 'Write to this file instead of standard output'
            cand --output 'Write to this file instead of standard output'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;license;renew'= {
            cand --until 'The new last day, like 2028-12-31'
            cand --id 'The new license''s id [default: the old one with -r2, -r3 ...]'
            cand --set 'Set a value in the draft, like licensee="Initech GmbH" or entitlement.cad-pro.seats=25; an empty one takes it out'
            cand --server-request 'Let the server serve it that made this request (`triquest-lm license request`), once checked'
            cand --key 'The vendor''s key file [default: triquest-lm/vendor.key in your configuration folder]'
            cand --signer 'Let this command sign: it gets the text on standard input, and writes the signature to standard output'
            cand --verifier-key 'The verifier keys that the text names, several with commas, or repeated: of --signer, or of whoever signs what --prepare prints. With a key file [default: its active keys]; those that are not in it sign later, elsewhere'
            cand --issued 'The date of issue [default: today]'
            cand -o 'Write to this file instead of standard output'
            cand --output 'Write to this file instead of standard output'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --draft 'Print the draft of the new license and sign nothing'
            cand --line 'On one line (tql1....)'
            cand --json 'As JSON: what it says, and the file and the line'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;license;show'= {
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --json 'As JSON'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;license;sign'= {
            cand --set 'Set a value in the draft, like licensee="Initech GmbH" or entitlement.cad-pro.seats=25; an empty one takes it out'
            cand --server-request 'Let the server serve it that made this request (`triquest-lm license request`), once checked'
            cand --attach 'Put this signature of the prepared text under it: 64 bytes, or base64 or hexadecimal digits of them'
            cand --key 'The vendor''s key file [default: triquest-lm/vendor.key in your configuration folder]'
            cand --signer 'Let this command sign: it gets the text on standard input, and writes the signature to standard output'
            cand --verifier-key 'The verifier keys that the text names, several with commas, or repeated: of --signer, or of whoever signs what --prepare prints. With a key file [default: its active keys]; those that are not in it sign later, elsewhere'
            cand --issued 'The date of issue [default: today]'
            cand -o 'Write to this file instead of standard output'
            cand --output 'Write to this file instead of standard output'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --any-server 'Everybody who has the file may serve it: servers = "any" is meant'
            cand --each-server-counts 'Several servers are listed, and each having the full count is meant'
            cand --prepare 'Only print the text that is to be signed, for a machine without network that has the key'
            cand --line 'On one line (tql1....)'
            cand --json 'As JSON: what it says, and the file and the line'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;license;verify'= {
            cand --verifier-key 'The vendor''s verifier key (or a file that holds it); several with commas, or repeated. One of them must have signed'
            cand --server 'Also check that this server may serve it'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --json 'As JSON, a refusal too'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;license;install'= {
            cand --reason 'Why, for the record'
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;license;list'= {
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --json 'As JSON'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;license;remove'= {
            cand --vendor 'The vendor, if two have a license of this id'
            cand --reason 'Why, for the record'
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;license;request'= {
            cand --host 'The host''s name in the request, for people [default: this machine''s]'
            cand -o 'Write it into a new file instead of standard output'
            cand --output 'Write it into a new file instead of standard output'
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;license;help'= {
            cand convert 'Write a license as a file or on one line; both are the same license'
            cand new 'Write a draft, from nothing, a template or JSON'
            cand renew 'Write and sign the license that follows an old one'
            cand show 'Show what a license says'
            cand sign 'Sign a draft'
            cand verify 'Check a license against its vendor''s verifier keys'
            cand install 'Install licenses on the server of this machine, while it runs'
            cand list 'List the licenses of the server of this machine'
            cand remove 'Take a license off the server; its seats end with the promises already made'
            cand request 'Write the signed request that a vendor needs to make a license for this server'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'triquest-lm;license;help;convert'= {
        }
        &'triquest-lm;license;help;new'= {
        }
        &'triquest-lm;license;help;renew'= {
        }
        &'triquest-lm;license;help;show'= {
        }
        &'triquest-lm;license;help;sign'= {
        }
        &'triquest-lm;license;help;verify'= {
        }
        &'triquest-lm;license;help;install'= {
        }
        &'triquest-lm;license;help;list'= {
        }
        &'triquest-lm;license;help;remove'= {
        }
        &'triquest-lm;license;help;request'= {
        }
        &'triquest-lm;license;help;help'= {
        }
        &'triquest-lm;man'= {
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;port'= {
            cand --host 'Ask this host instead of this machine; its sockets cannot be seen from here'
            cand --verifier-key 'The vendor''s verifier key (or a file that holds it), several with commas: a server that their licenses list is known [env: TRIQUEST_LM_VERIFIER_KEY]'
            cand --server-key 'The server key that must answer there, as `server id` prints it: whatever listens is asked to prove it, on every port; may be repeated'
            cand --watch 'Look again and again, every so many seconds, until Ctrl-C'
            cand --update 'Take IANA''s current registry (XML or CSV, as published) and say what changed'
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --all 'Every listener of this machine'
            cand --no-probe 'Look only: ask nothing of what listens'
            cand --remember 'Keep the keys that are proved now: from then on they are known at their addresses'
            cand --json 'As JSON, for monitoring'
            cand --although-older 'With --update: take it although it is older than the one that is built in'
            cand --feedback 'How often the pages of this machine''s server were found helpful'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;presence'= {
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
            cand allow 'Let presence free seats early again in a network, before its day is over'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'triquest-lm;presence;allow'= {
            cand --reason 'Why, for the record'
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;presence;help'= {
            cand allow 'Let presence free seats early again in a network, before its day is over'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'triquest-lm;presence;help;allow'= {
        }
        &'triquest-lm;presence;help;help'= {
        }
        &'triquest-lm;quarantine'= {
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
            cand end 'Grant seats again now, although seats that were granted in lost history may still be in use'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'triquest-lm;quarantine;end'= {
            cand --lineage 'The history whose quarantine was looked at, as `status` and `doctor` name it: if another has begun since, nothing ends. Without it the quarantine that runs when the command is given ends'
            cand --reason 'Why, for the record'
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;quarantine;help'= {
            cand end 'Grant seats again now, although seats that were granted in lost history may still be in use'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'triquest-lm;quarantine;help;end'= {
        }
        &'triquest-lm;quarantine;help;help'= {
        }
        &'triquest-lm;quickstart'= {
            cand --listen 'Where to listen; port 0 takes any free one'
            cand --dir 'The folder for everything it makes'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --once 'End after the demonstration; exit code 0 only if all of it happened'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;quickstart-client'= {
            cand --server 'server'
            cand --verifier-key 'verifier-key'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;reclaim'= {
            cand --reason 'Why, for the record'
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --now 'Free the seats at once, before the holder has stopped; recorded as possible over-use'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;release'= {
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;restore'= {
            cand --quarantine 'Grant nothing new for so long, at most 24h, if that is longer than what the licenses known here may have promised; 24h is certain'
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;run'= {
            cand -f 'Feature to check out, with seats and version of its own if given; several are granted all or none'
            cand --feature 'Feature to check out, with seats and version of its own if given; several are granted all or none'
            cand --seats 'Seats of each feature that names none'
            cand --version 'The program''s version, for each feature that names none'
            cand --wait 'Wait for a seat for at most so long, such as 90s, 30m, 2h: in line, and for a server whose disk is full or that was restored'
            cand --server 'License servers, such as 1588@HOST, several with commas [default: TRIQUEST_LM_SERVER, else client.toml of the user or the machine, else DNS SRV]'
            cand --verifier-key 'The vendor''s verifier key (or a file that holds it), several with commas'
            cand --project 'Project that the use is booked to'
            cand --on-lost 'What becomes of the program if its seat is lost, after every grace'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --accept-any-server 'Accept a license with servers = "any", which anyone who has the file can serve'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'triquest-lm;run-program'= {
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;run-watcher'= {
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;seat'= {
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --json 'As JSON: {"held": true, "answered": whether the server said so now, "heard_ms": how long ago it did, "ending_ms": in how long it ends for good or null, "ending": "why", "lost": "why, the last time"}'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;serve'= {
            cand --config 'Configuration file [default: config.toml in the data directory, if there is one; env: TRIQUEST_LM_CONFIG]'
            cand --data 'Data directory [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm; env: TRIQUEST_LM_DATA]'
            cand --listen 'Where to listen, any number of times [default: port 1588 on every address; env: TRIQUEST_LM_LISTEN]'
            cand --end-quarantine 'Grant again at once after the restore or rollback that began this history, although seats granted in lost history may still be in use. It names the history as `journal restore`, the log and `status` do; the quarantine of another one goes on, so that a flag that is left here ends no later one'
            cand --log-format 'Form of the log [default: text; env: TRIQUEST_LM_LOG_FORMAT]'
            cand --log-level 'How much is logged [default: info; env: TRIQUEST_LM_LOG_LEVEL]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --init 'Begin in a named data directory without a journal: a new server with a new key; if a server''s key is there, it is kept, and a new history begins that grants nothing until seats of the lost one must have ended'
            cand --check 'Check the configuration and the data directory, say what is wrong or what a start would begin, and exit as the start would'
            cand --accept-clock 'Believe the wall clock as it stands now, even if it jumped'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'triquest-lm;server'= {
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
            cand avahi-service 'Print the file with which Avahi announces this machine''s server by mDNS'
            cand id 'Print the server''s key, which licenses name'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'triquest-lm;server;avahi-service'= {
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'triquest-lm;server;id'= {
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --json 'As JSON, with the instance and the history of the running server'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;server;help'= {
            cand avahi-service 'Print the file with which Avahi announces this machine''s server by mDNS'
            cand id 'Print the server''s key, which licenses name'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'triquest-lm;server;help;avahi-service'= {
        }
        &'triquest-lm;server;help;id'= {
        }
        &'triquest-lm;server;help;help'= {
        }
        &'triquest-lm;status'= {
            cand --watch 'Look again and again, every so many seconds, until Ctrl-C'
            cand --server 'Counts from this server over the network (1588@HOST), without names; needs --verifier-key [default: the server of this machine; if none runs here and --verifier-key is given, the one that TRIQUEST_LM_SERVER, client.toml or DNS SRV names]'
            cand --verifier-key 'The vendor''s verifier key (or a file that holds it) for --server, several with commas [env: TRIQUEST_LM_VERIFIER_KEY]'
            cand --data 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --json 'As JSON: {"status": ..., "leases": [...]}'
            cand --csv 'The leases as CSV, for spreadsheets'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;vendor'= {
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
            cand init 'Make a signing key, and print the verifier key that your applications embed'
            cand retire 'Take a key out of use, once no application that knows only this key is left'
            cand rotate 'Add the next key: from then on all active keys sign, so that old and new applications accept the same license'
            cand show 'Print the verifier keys that your applications embed'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'triquest-lm;vendor;init'= {
            cand --key 'The vendor''s key file [default: triquest-lm/vendor.key in your configuration folder]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --json 'As JSON'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;vendor;retire'= {
            cand --key 'The vendor''s key file [default: triquest-lm/vendor.key in your configuration folder]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;vendor;rotate'= {
            cand --key 'The vendor''s key file [default: triquest-lm/vendor.key in your configuration folder]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --json 'As JSON'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;vendor;show'= {
            cand --key 'The vendor''s key file [default: triquest-lm/vendor.key in your configuration folder]'
            cand --color 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is'
            cand --json 'As JSON'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'triquest-lm;vendor;help'= {
            cand init 'Make a signing key, and print the verifier key that your applications embed'
            cand retire 'Take a key out of use, once no application that knows only this key is left'
            cand rotate 'Add the next key: from then on all active keys sign, so that old and new applications accept the same license'
            cand show 'Print the verifier keys that your applications embed'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'triquest-lm;vendor;help;init'= {
        }
        &'triquest-lm;vendor;help;retire'= {
        }
        &'triquest-lm;vendor;help;rotate'= {
        }
        &'triquest-lm;vendor;help;show'= {
        }
        &'triquest-lm;vendor;help;help'= {
        }
        &'triquest-lm;help'= {
            cand backup 'The same as `journal backup`'
            cand checkout 'Take a seat for a script and keep it until `release`'
            cand clock 'Believe the server''s clock again after a jump'
            cand completions 'Print the completion script of a shell'
            cand doctor 'Look in order whether everything is well between this computer and its server'
            cand events 'Show what has happened, and what happens'
            cand find 'Look for license servers near, and at who they are'
            cand journal 'Check, save and restore what the server keeps'
            cand license 'Make, check, install and list licenses'
            cand man 'Write the manual pages into a folder'
            cand port 'Tell what is on a port: registered for, listening here, genuine, what to do'
            cand presence 'Let the end of a program free its seats at once again'
            cand quarantine 'End the wait of a server that was restored or lost its history'
            cand quickstart 'Show the whole job on this machine: vendor, license, server, three clients'
            cand quickstart-client '`quickstart-client`: one of the three programs that want a seat. Obeys lines on its standard input, reports in JSON on its standard output'
            cand reclaim 'Take a lease back from its holder'
            cand release 'Give back a seat that `checkout` took'
            cand restore 'The same as `journal restore`'
            cand run 'Run a program while a seat is held for it'
            cand run-program '`run-program GO FAILED -- PROGRAM NAME ARGUMENTS`: started by `run` while it asks for the seat'
            cand run-watcher '`run-watcher PROGRAM`: started by `run` before it stops itself together with its program'
            cand seat 'Ask whether a seat that `checkout` took still holds'
            cand serve 'Run the server'
            cand server 'Ask what the server of this machine is'
            cand status 'Show who holds what, since when, how idle'
            cand vendor 'Make and rotate the vendor''s signing keys'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'triquest-lm;help;backup'= {
        }
        &'triquest-lm;help;checkout'= {
        }
        &'triquest-lm;help;clock'= {
            cand accept 'Believe the server''s wall clock as it stands now, after a jump that it held back'
        }
        &'triquest-lm;help;clock;accept'= {
        }
        &'triquest-lm;help;completions'= {
        }
        &'triquest-lm;help;doctor'= {
        }
        &'triquest-lm;help;events'= {
        }
        &'triquest-lm;help;find'= {
        }
        &'triquest-lm;help;journal'= {
            cand backup 'Save the journal and the server''s key into one file, while the server runs or not'
            cand check 'Read a journal or a backup from end to end and say whether it is whole; nothing is changed'
            cand restore 'Bring a backup back into a new data directory'
        }
        &'triquest-lm;help;journal;backup'= {
        }
        &'triquest-lm;help;journal;check'= {
        }
        &'triquest-lm;help;journal;restore'= {
        }
        &'triquest-lm;help;license'= {
            cand convert 'Write a license as a file or on one line; both are the same license'
            cand new 'Write a draft, from nothing, a template or JSON'
            cand renew 'Write and sign the license that follows an old one'
            cand show 'Show what a license says'
            cand sign 'Sign a draft'
            cand verify 'Check a license against its vendor''s verifier keys'
            cand install 'Install licenses on the server of this machine, while it runs'
            cand list 'List the licenses of the server of this machine'
            cand remove 'Take a license off the server; its seats end with the promises already made'
            cand request 'Write the signed request that a vendor needs to make a license for this server'
        }
        &'triquest-lm;help;license;convert'= {
        }
        &'triquest-lm;help;license;new'= {
        }
        &'triquest-lm;help;license;renew'= {
        }
        &'triquest-lm;help;license;show'= {
        }
        &'triquest-lm;help;license;sign'= {
        }
        &'triquest-lm;help;license;verify'= {
        }
        &'triquest-lm;help;license;install'= {
        }
        &'triquest-lm;help;license;list'= {
        }
        &'triquest-lm;help;license;remove'= {
        }
        &'triquest-lm;help;license;request'= {
        }
        &'triquest-lm;help;man'= {
        }
        &'triquest-lm;help;port'= {
        }
        &'triquest-lm;help;presence'= {
            cand allow 'Let presence free seats early again in a network, before its day is over'
        }
        &'triquest-lm;help;presence;allow'= {
        }
        &'triquest-lm;help;quarantine'= {
            cand end 'Grant seats again now, although seats that were granted in lost history may still be in use'
        }
        &'triquest-lm;help;quarantine;end'= {
        }
        &'triquest-lm;help;quickstart'= {
        }
        &'triquest-lm;help;quickstart-client'= {
        }
        &'triquest-lm;help;reclaim'= {
        }
        &'triquest-lm;help;release'= {
        }
        &'triquest-lm;help;restore'= {
        }
        &'triquest-lm;help;run'= {
        }
        &'triquest-lm;help;run-program'= {
        }
        &'triquest-lm;help;run-watcher'= {
        }
        &'triquest-lm;help;seat'= {
        }
        &'triquest-lm;help;serve'= {
        }
        &'triquest-lm;help;server'= {
            cand avahi-service 'Print the file with which Avahi announces this machine''s server by mDNS'
            cand id 'Print the server''s key, which licenses name'
        }
        &'triquest-lm;help;server;avahi-service'= {
        }
        &'triquest-lm;help;server;id'= {
        }
        &'triquest-lm;help;status'= {
        }
        &'triquest-lm;help;vendor'= {
            cand init 'Make a signing key, and print the verifier key that your applications embed'
            cand retire 'Take a key out of use, once no application that knows only this key is left'
            cand rotate 'Add the next key: from then on all active keys sign, so that old and new applications accept the same license'
            cand show 'Print the verifier keys that your applications embed'
        }
        &'triquest-lm;help;vendor;init'= {
        }
        &'triquest-lm;help;vendor;retire'= {
        }
        &'triquest-lm;help;vendor;rotate'= {
        }
        &'triquest-lm;help;vendor;show'= {
        }
        &'triquest-lm;help;help'= {
        }
    ]
    $completions[$command]
}
