# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_triquest_lm_global_optspecs
    string join \n color= h/help V/version
end

function __fish_triquest_lm_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_triquest_lm_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_triquest_lm_using_subcommand
    set -l cmd (__fish_triquest_lm_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -s V -l version -d 'Print version'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "backup" -d 'The same as `journal backup`'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "checkout" -d 'Take a seat for a script and keep it until `release`'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "clock" -d 'Believe the server\'s clock again after a jump'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "completions" -d 'Print the completion script of a shell'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "doctor" -d 'Look in order whether everything is well between this computer and its server'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "events" -d 'Show what has happened, and what happens'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "find" -d 'Look for license servers near, and at who they are'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "journal" -d 'Check, save and restore what the server keeps'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "license" -d 'Make, check, install and list licenses'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "man" -d 'Write the manual pages into a folder'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "port" -d 'Tell what is on a port: registered for, listening here, genuine, what to do'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "presence" -d 'Let the end of a program free its seats at once again'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "quarantine" -d 'End the wait of a server that was restored or lost its history'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "quickstart" -d 'Show the whole job on this machine: vendor, license, server, three clients'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "quickstart-client" -d '`quickstart-client`: one of the three programs that want a seat. Obeys lines on its standard input, reports in JSON on its standard output'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "reclaim" -d 'Take a lease back from its holder'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "release" -d 'Give back a seat that `checkout` took'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "restore" -d 'The same as `journal restore`'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "run" -d 'Run a program while a seat is held for it'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "run-program" -d '`run-program GO FAILED -- PROGRAM NAME ARGUMENTS`: started by `run` while it asks for the seat'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "run-watcher" -d '`run-watcher PROGRAM`: started by `run` before it stops itself together with its program'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "seat" -d 'Ask whether a seat that `checkout` took still holds'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "serve" -d 'Run the server'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "server" -d 'Ask what the server of this machine is'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "status" -d 'Show who holds what, since when, how idle'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "vendor" -d 'Make and rotate the vendor\'s signing keys'
complete -c triquest-lm -n "__fish_triquest_lm_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand backup" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand backup" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand backup" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand checkout" -s f -l feature -d 'Feature to check out, with seats and version of its own if given; several are granted all or none' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand checkout" -l seats -d 'Seats of each feature that names none' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand checkout" -l version -d 'The program\'s version, for each feature that names none' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand checkout" -l wait -d 'Wait for a seat for at most so long, such as 90s, 30m, 2h: in line, and for a server whose disk is full or that was restored' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand checkout" -l server -d 'License servers, such as 1588@HOST, several with commas [default: TRIQUEST_LM_SERVER, else client.toml of the user or the machine, else DNS SRV]' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand checkout" -l verifier-key -d 'The vendor\'s verifier key (or a file that holds it), several with commas' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand checkout" -l project -d 'Project that the use is booked to' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand checkout" -l lease-file -d 'Where to write the lease file [default: a new one in $XDG_RUNTIME_DIR/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand checkout" -l for -d 'Give the seat back when this process has ended' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand checkout" -l on-lost -d 'What becomes of the process of --for if its seat is lost, after every grace' -r -f -a "suspend\t'Stop it until a seat is there again; if none can come back (an administrator reclaimed it, its license was removed), end it as `terminate` does'
terminate\t'End it with what it has started: SIGTERM, and SIGKILL for what still runs after 60 s'
warn\t'Say it, and let it run on'"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand checkout" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand checkout" -l accept-any-server -d 'Accept a license with servers = "any", which anyone who has the file can serve'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand checkout" -l hold -d 'Stay in the foreground and hold the seat until a signal'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand checkout" -l keeper -d 'The process that keeps the seat'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand checkout" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand clock; and not __fish_seen_subcommand_from accept help" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand clock; and not __fish_seen_subcommand_from accept help" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand clock; and not __fish_seen_subcommand_from accept help" -f -a "accept" -d 'Believe the server\'s wall clock as it stands now, after a jump that it held back'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand clock; and not __fish_seen_subcommand_from accept help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand clock; and __fish_seen_subcommand_from accept" -l reason -d 'Why, for the record' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand clock; and __fish_seen_subcommand_from accept" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand clock; and __fish_seen_subcommand_from accept" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand clock; and __fish_seen_subcommand_from accept" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand clock; and __fish_seen_subcommand_from help" -f -a "accept" -d 'Believe the server\'s wall clock as it stands now, after a jump that it held back'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand clock; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand completions" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand completions" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand doctor" -s f -l feature -d 'The feature whose seats matter' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand doctor" -l verifier-key -d 'The vendor\'s verifier key (or a file that holds it), several with commas [env: TRIQUEST_LM_VERIFIER_KEY]' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand doctor" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand doctor" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand doctor" -l accept-any-server -d 'Accept a license with servers = "any", as programs do that are told to'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand events" -l after -d 'Begin after this cursor (LINEAGE.EPOCH.INDEX.NUMBER, as --json shows it under "cursor")' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand events" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand events" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand events" -s f -l follow -d 'Go on with what happens, until Ctrl-C'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand events" -l json -d 'One JSON object on each line'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand events" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand find" -s f -l feature -d 'Show the seats of this feature too; needs --verifier-key; may be repeated' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand find" -l domain -d 'Ask DNS about this domain instead of those of this machine' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand find" -l timeout -d 'Listen for so long for answers of the network, such as 2s' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand find" -l port -d 'The port to ask over UDP' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand find" -l verifier-key -d 'The vendor\'s verifier key (or a file that holds it), several with commas [env: TRIQUEST_LM_VERIFIER_KEY]' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand find" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand find" -l no-mdns -d 'Do not listen for mDNS'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand find" -l remember -d 'Keep the keys that are proved now in ~/.local/share/triquest-lm/known_servers: from then on they are known, and another one is called out. Loopback and link-local addresses are never kept'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand find" -l json -d 'As JSON: {"servers": [...], "looked": [...]}'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand find" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and not __fish_seen_subcommand_from backup check restore help" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and not __fish_seen_subcommand_from backup check restore help" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and not __fish_seen_subcommand_from backup check restore help" -f -a "backup" -d 'Save the journal and the server\'s key into one file, while the server runs or not'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and not __fish_seen_subcommand_from backup check restore help" -f -a "check" -d 'Read a journal or a backup from end to end and say whether it is whole; nothing is changed'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and not __fish_seen_subcommand_from backup check restore help" -f -a "restore" -d 'Bring a backup back into a new data directory'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and not __fish_seen_subcommand_from backup check restore help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and __fish_seen_subcommand_from backup" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and __fish_seen_subcommand_from backup" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and __fish_seen_subcommand_from backup" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and __fish_seen_subcommand_from check" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and __fish_seen_subcommand_from check" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and __fish_seen_subcommand_from check" -l json -d 'As JSON'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and __fish_seen_subcommand_from restore" -l quarantine -d 'Grant nothing new for so long, at most 24h, if that is longer than what the licenses known here may have promised; 24h is certain' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and __fish_seen_subcommand_from restore" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and __fish_seen_subcommand_from restore" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and __fish_seen_subcommand_from restore" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and __fish_seen_subcommand_from help" -f -a "backup" -d 'Save the journal and the server\'s key into one file, while the server runs or not'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and __fish_seen_subcommand_from help" -f -a "check" -d 'Read a journal or a backup from end to end and say whether it is whole; nothing is changed'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and __fish_seen_subcommand_from help" -f -a "restore" -d 'Bring a backup back into a new data directory'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand journal; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and not __fish_seen_subcommand_from convert new renew show sign verify install list remove request help" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and not __fish_seen_subcommand_from convert new renew show sign verify install list remove request help" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and not __fish_seen_subcommand_from convert new renew show sign verify install list remove request help" -f -a "convert" -d 'Write a license as a file or on one line; both are the same license'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and not __fish_seen_subcommand_from convert new renew show sign verify install list remove request help" -f -a "new" -d 'Write a draft, from nothing, a template or JSON'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and not __fish_seen_subcommand_from convert new renew show sign verify install list remove request help" -f -a "renew" -d 'Write and sign the license that follows an old one'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and not __fish_seen_subcommand_from convert new renew show sign verify install list remove request help" -f -a "show" -d 'Show what a license says'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and not __fish_seen_subcommand_from convert new renew show sign verify install list remove request help" -f -a "sign" -d 'Sign a draft'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and not __fish_seen_subcommand_from convert new renew show sign verify install list remove request help" -f -a "verify" -d 'Check a license against its vendor\'s verifier keys'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and not __fish_seen_subcommand_from convert new renew show sign verify install list remove request help" -f -a "install" -d 'Install licenses on the server of this machine, while it runs'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and not __fish_seen_subcommand_from convert new renew show sign verify install list remove request help" -f -a "list" -d 'List the licenses of the server of this machine'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and not __fish_seen_subcommand_from convert new renew show sign verify install list remove request help" -f -a "remove" -d 'Take a license off the server; its seats end with the promises already made'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and not __fish_seen_subcommand_from convert new renew show sign verify install list remove request help" -f -a "request" -d 'Write the signed request that a vendor needs to make a license for this server'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and not __fish_seen_subcommand_from convert new renew show sign verify install list remove request help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from convert" -l to -d 'What to write' -r -f -a "file\t'The license file, which people can read'
line\t'One line, which survives mail and forms'"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from convert" -s o -l output -d 'Write to this file instead of standard output' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from convert" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from convert" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from new" -l id -d 'The license\'s id: your own number for it' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from new" -l template -d 'A draft to start from, whose comments stay; or a signed license, without its id, vendor, date of issue and signatures' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from new" -l from-json -d 'JSON to start from: {"license": ..., "licensee": ..., "servers": [...], "entitlement": [{"feature": ..., "seats": ...}]}' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from new" -l set -d 'Set a value in the draft, like licensee="Initech GmbH" or entitlement.cad-pro.seats=25; an empty one takes it out' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from new" -l server-request -d 'Let the server serve it that made this request (`triquest-lm license request`), once checked' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from new" -s o -l output -d 'Write to this file instead of standard output' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from new" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from new" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from renew" -l until -d 'The new last day, like 2028-12-31' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from renew" -l id -d 'The new license\'s id [default: the old one with -r2, -r3 ...]' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from renew" -l set -d 'Set a value in the draft, like licensee="Initech GmbH" or entitlement.cad-pro.seats=25; an empty one takes it out' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from renew" -l server-request -d 'Let the server serve it that made this request (`triquest-lm license request`), once checked' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from renew" -l key -d 'The vendor\'s key file [default: triquest-lm/vendor.key in your configuration folder]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from renew" -l signer -d 'Let this command sign: it gets the text on standard input, and writes the signature to standard output' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from renew" -l verifier-key -d 'The verifier keys that the text names, several with commas, or repeated: of --signer, or of whoever signs what --prepare prints. With a key file [default: its active keys]; those that are not in it sign later, elsewhere' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from renew" -l issued -d 'The date of issue [default: today]' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from renew" -s o -l output -d 'Write to this file instead of standard output' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from renew" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from renew" -l draft -d 'Print the draft of the new license and sign nothing'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from renew" -l line -d 'On one line (tql1....)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from renew" -l json -d 'As JSON: what it says, and the file and the line'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from renew" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from show" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from show" -l json -d 'As JSON'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from sign" -l set -d 'Set a value in the draft, like licensee="Initech GmbH" or entitlement.cad-pro.seats=25; an empty one takes it out' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from sign" -l server-request -d 'Let the server serve it that made this request (`triquest-lm license request`), once checked' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from sign" -l attach -d 'Put this signature of the prepared text under it: 64 bytes, or base64 or hexadecimal digits of them' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from sign" -l key -d 'The vendor\'s key file [default: triquest-lm/vendor.key in your configuration folder]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from sign" -l signer -d 'Let this command sign: it gets the text on standard input, and writes the signature to standard output' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from sign" -l verifier-key -d 'The verifier keys that the text names, several with commas, or repeated: of --signer, or of whoever signs what --prepare prints. With a key file [default: its active keys]; those that are not in it sign later, elsewhere' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from sign" -l issued -d 'The date of issue [default: today]' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from sign" -s o -l output -d 'Write to this file instead of standard output' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from sign" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from sign" -l any-server -d 'Everybody who has the file may serve it: servers = "any" is meant'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from sign" -l each-server-counts -d 'Several servers are listed, and each having the full count is meant'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from sign" -l prepare -d 'Only print the text that is to be signed, for a machine without network that has the key'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from sign" -l line -d 'On one line (tql1....)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from sign" -l json -d 'As JSON: what it says, and the file and the line'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from sign" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from verify" -l verifier-key -d 'The vendor\'s verifier key (or a file that holds it); several with commas, or repeated. One of them must have signed' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from verify" -l server -d 'Also check that this server may serve it' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from verify" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from verify" -l json -d 'As JSON, a refusal too'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from install" -l reason -d 'Why, for the record' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from install" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from install" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from install" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from list" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from list" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from list" -l json -d 'As JSON'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from remove" -l vendor -d 'The vendor, if two have a license of this id' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from remove" -l reason -d 'Why, for the record' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from remove" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from remove" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from request" -l host -d 'The host\'s name in the request, for people [default: this machine\'s]' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from request" -s o -l output -d 'Write it into a new file instead of standard output' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from request" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from request" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from request" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from help" -f -a "convert" -d 'Write a license as a file or on one line; both are the same license'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from help" -f -a "new" -d 'Write a draft, from nothing, a template or JSON'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from help" -f -a "renew" -d 'Write and sign the license that follows an old one'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show what a license says'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from help" -f -a "sign" -d 'Sign a draft'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from help" -f -a "verify" -d 'Check a license against its vendor\'s verifier keys'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from help" -f -a "install" -d 'Install licenses on the server of this machine, while it runs'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the licenses of the server of this machine'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Take a license off the server; its seats end with the promises already made'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from help" -f -a "request" -d 'Write the signed request that a vendor needs to make a license for this server'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand license; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand man" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand man" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand port" -l host -d 'Ask this host instead of this machine; its sockets cannot be seen from here' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand port" -l verifier-key -d 'The vendor\'s verifier key (or a file that holds it), several with commas: a server that their licenses list is known [env: TRIQUEST_LM_VERIFIER_KEY]' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand port" -l server-key -d 'The server key that must answer there, as `server id` prints it: whatever listens is asked to prove it, on every port; may be repeated' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand port" -l watch -d 'Look again and again, every so many seconds, until Ctrl-C' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand port" -l update -d 'Take IANA\'s current registry (XML or CSV, as published) and say what changed' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand port" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand port" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand port" -l all -d 'Every listener of this machine'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand port" -l no-probe -d 'Look only: ask nothing of what listens'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand port" -l remember -d 'Keep the keys that are proved now: from then on they are known at their addresses'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand port" -l json -d 'As JSON, for monitoring'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand port" -l although-older -d 'With --update: take it although it is older than the one that is built in'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand port" -l feedback -d 'How often the pages of this machine\'s server were found helpful'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand port" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand presence; and not __fish_seen_subcommand_from allow help" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand presence; and not __fish_seen_subcommand_from allow help" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand presence; and not __fish_seen_subcommand_from allow help" -f -a "allow" -d 'Let presence free seats early again in a network, before its day is over'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand presence; and not __fish_seen_subcommand_from allow help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand presence; and __fish_seen_subcommand_from allow" -l reason -d 'Why, for the record' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand presence; and __fish_seen_subcommand_from allow" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand presence; and __fish_seen_subcommand_from allow" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand presence; and __fish_seen_subcommand_from allow" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand presence; and __fish_seen_subcommand_from help" -f -a "allow" -d 'Let presence free seats early again in a network, before its day is over'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand presence; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quarantine; and not __fish_seen_subcommand_from end help" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quarantine; and not __fish_seen_subcommand_from end help" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quarantine; and not __fish_seen_subcommand_from end help" -f -a "end" -d 'Grant seats again now, although seats that were granted in lost history may still be in use'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quarantine; and not __fish_seen_subcommand_from end help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quarantine; and __fish_seen_subcommand_from end" -l lineage -d 'The history whose quarantine was looked at, as `status` and `doctor` name it: if another has begun since, nothing ends. Without it the quarantine that runs when the command is given ends' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quarantine; and __fish_seen_subcommand_from end" -l reason -d 'Why, for the record' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quarantine; and __fish_seen_subcommand_from end" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quarantine; and __fish_seen_subcommand_from end" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quarantine; and __fish_seen_subcommand_from end" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quarantine; and __fish_seen_subcommand_from help" -f -a "end" -d 'Grant seats again now, although seats that were granted in lost history may still be in use'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quarantine; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quickstart" -l listen -d 'Where to listen; port 0 takes any free one' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quickstart" -l dir -d 'The folder for everything it makes' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quickstart" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quickstart" -l once -d 'End after the demonstration; exit code 0 only if all of it happened'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quickstart" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quickstart-client" -l server -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quickstart-client" -l verifier-key -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quickstart-client" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand quickstart-client" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand reclaim" -l reason -d 'Why, for the record' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand reclaim" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand reclaim" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand reclaim" -l now -d 'Free the seats at once, before the holder has stopped; recorded as possible over-use'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand reclaim" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand release" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand release" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand restore" -l quarantine -d 'Grant nothing new for so long, at most 24h, if that is longer than what the licenses known here may have promised; 24h is certain' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand restore" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand restore" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand restore" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand run" -s f -l feature -d 'Feature to check out, with seats and version of its own if given; several are granted all or none' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand run" -l seats -d 'Seats of each feature that names none' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand run" -l version -d 'The program\'s version, for each feature that names none' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand run" -l wait -d 'Wait for a seat for at most so long, such as 90s, 30m, 2h: in line, and for a server whose disk is full or that was restored' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand run" -l server -d 'License servers, such as 1588@HOST, several with commas [default: TRIQUEST_LM_SERVER, else client.toml of the user or the machine, else DNS SRV]' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand run" -l verifier-key -d 'The vendor\'s verifier key (or a file that holds it), several with commas' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand run" -l project -d 'Project that the use is booked to' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand run" -l on-lost -d 'What becomes of the program if its seat is lost, after every grace' -r -f -a "suspend\t'Stop it until a seat is there again; if none can come back (an administrator reclaimed it, its license was removed), end it as `terminate` does'
terminate\t'End it with what it has started: SIGTERM, and SIGKILL for what still runs after 60 s'
warn\t'Say it, and let it run on'"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand run" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand run" -l accept-any-server -d 'Accept a license with servers = "any", which anyone who has the file can serve'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand run-program" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand run-program" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand run-watcher" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand run-watcher" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand seat" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand seat" -l json -d 'As JSON: {"held": true, "answered": whether the server said so now, "heard_ms": how long ago it did, "ending_ms": in how long it ends for good or null, "ending": "why", "lost": "why, the last time"}'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand seat" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand serve" -l config -d 'Configuration file [default: config.toml in the data directory, if there is one; env: TRIQUEST_LM_CONFIG]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand serve" -l data -d 'Data directory [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm; env: TRIQUEST_LM_DATA]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand serve" -l listen -d 'Where to listen, any number of times [default: port 1588 on every address; env: TRIQUEST_LM_LISTEN]' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand serve" -l end-quarantine -d 'Grant again at once after the restore or rollback that began this history, although seats granted in lost history may still be in use. It names the history as `journal restore`, the log and `status` do; the quarantine of another one goes on, so that a flag that is left here ends no later one' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand serve" -l log-format -d 'Form of the log [default: text; env: TRIQUEST_LM_LOG_FORMAT]' -r -f -a "text\t''
json\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand serve" -l log-level -d 'How much is logged [default: info; env: TRIQUEST_LM_LOG_LEVEL]' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand serve" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand serve" -l init -d 'Begin in a named data directory without a journal: a new server with a new key; if a server\'s key is there, it is kept, and a new history begins that grants nothing until seats of the lost one must have ended'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand serve" -l check -d 'Check the configuration and the data directory, say what is wrong or what a start would begin, and exit as the start would'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand serve" -l accept-clock -d 'Believe the wall clock as it stands now, even if it jumped'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand server; and not __fish_seen_subcommand_from avahi-service id help" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand server; and not __fish_seen_subcommand_from avahi-service id help" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand server; and not __fish_seen_subcommand_from avahi-service id help" -f -a "avahi-service" -d 'Print the file with which Avahi announces this machine\'s server by mDNS'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand server; and not __fish_seen_subcommand_from avahi-service id help" -f -a "id" -d 'Print the server\'s key, which licenses name'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand server; and not __fish_seen_subcommand_from avahi-service id help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand server; and __fish_seen_subcommand_from avahi-service" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand server; and __fish_seen_subcommand_from avahi-service" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand server; and __fish_seen_subcommand_from avahi-service" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand server; and __fish_seen_subcommand_from id" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand server; and __fish_seen_subcommand_from id" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand server; and __fish_seen_subcommand_from id" -l json -d 'As JSON, with the instance and the history of the running server'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand server; and __fish_seen_subcommand_from id" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand server; and __fish_seen_subcommand_from help" -f -a "avahi-service" -d 'Print the file with which Avahi announces this machine\'s server by mDNS'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand server; and __fish_seen_subcommand_from help" -f -a "id" -d 'Print the server\'s key, which licenses name'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand server; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand status" -l watch -d 'Look again and again, every so many seconds, until Ctrl-C' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand status" -l server -d 'Counts from this server over the network (1588@HOST), without names; needs --verifier-key [default: the server of this machine; if none runs here and --verifier-key is given, the one that TRIQUEST_LM_SERVER, client.toml or DNS SRV names]' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand status" -l verifier-key -d 'The vendor\'s verifier key (or a file that holds it) for --server, several with commas [env: TRIQUEST_LM_VERIFIER_KEY]' -r
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand status" -l data -d 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand status" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand status" -l json -d 'As JSON: {"status": ..., "leases": [...]}'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand status" -l csv -d 'The leases as CSV, for spreadsheets'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand status" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and not __fish_seen_subcommand_from init retire rotate show help" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and not __fish_seen_subcommand_from init retire rotate show help" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and not __fish_seen_subcommand_from init retire rotate show help" -f -a "init" -d 'Make a signing key, and print the verifier key that your applications embed'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and not __fish_seen_subcommand_from init retire rotate show help" -f -a "retire" -d 'Take a key out of use, once no application that knows only this key is left'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and not __fish_seen_subcommand_from init retire rotate show help" -f -a "rotate" -d 'Add the next key: from then on all active keys sign, so that old and new applications accept the same license'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and not __fish_seen_subcommand_from init retire rotate show help" -f -a "show" -d 'Print the verifier keys that your applications embed'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and not __fish_seen_subcommand_from init retire rotate show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from init" -l key -d 'The vendor\'s key file [default: triquest-lm/vendor.key in your configuration folder]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from init" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from init" -l json -d 'As JSON'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from init" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from retire" -l key -d 'The vendor\'s key file [default: triquest-lm/vendor.key in your configuration folder]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from retire" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from retire" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from rotate" -l key -d 'The vendor\'s key file [default: triquest-lm/vendor.key in your configuration folder]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from rotate" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from rotate" -l json -d 'As JSON'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from rotate" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from show" -l key -d 'The vendor\'s key file [default: triquest-lm/vendor.key in your configuration folder]' -r -F
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from show" -l color -d 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is' -r -f -a "always\t''
auto\t''
never\t''"
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from show" -l json -d 'As JSON'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from help" -f -a "init" -d 'Make a signing key, and print the verifier key that your applications embed'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from help" -f -a "retire" -d 'Take a key out of use, once no application that knows only this key is left'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from help" -f -a "rotate" -d 'Add the next key: from then on all active keys sign, so that old and new applications accept the same license'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from help" -f -a "show" -d 'Print the verifier keys that your applications embed'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand vendor; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "backup" -d 'The same as `journal backup`'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "checkout" -d 'Take a seat for a script and keep it until `release`'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "clock" -d 'Believe the server\'s clock again after a jump'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "completions" -d 'Print the completion script of a shell'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "doctor" -d 'Look in order whether everything is well between this computer and its server'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "events" -d 'Show what has happened, and what happens'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "find" -d 'Look for license servers near, and at who they are'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "journal" -d 'Check, save and restore what the server keeps'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "license" -d 'Make, check, install and list licenses'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "man" -d 'Write the manual pages into a folder'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "port" -d 'Tell what is on a port: registered for, listening here, genuine, what to do'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "presence" -d 'Let the end of a program free its seats at once again'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "quarantine" -d 'End the wait of a server that was restored or lost its history'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "quickstart" -d 'Show the whole job on this machine: vendor, license, server, three clients'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "quickstart-client" -d '`quickstart-client`: one of the three programs that want a seat. Obeys lines on its standard input, reports in JSON on its standard output'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "reclaim" -d 'Take a lease back from its holder'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "release" -d 'Give back a seat that `checkout` took'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "restore" -d 'The same as `journal restore`'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "run" -d 'Run a program while a seat is held for it'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "run-program" -d '`run-program GO FAILED -- PROGRAM NAME ARGUMENTS`: started by `run` while it asks for the seat'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "run-watcher" -d '`run-watcher PROGRAM`: started by `run` before it stops itself together with its program'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "seat" -d 'Ask whether a seat that `checkout` took still holds'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "serve" -d 'Run the server'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "server" -d 'Ask what the server of this machine is'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "status" -d 'Show who holds what, since when, how idle'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "vendor" -d 'Make and rotate the vendor\'s signing keys'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and not __fish_seen_subcommand_from backup checkout clock completions doctor events find journal license man port presence quarantine quickstart quickstart-client reclaim release restore run run-program run-watcher seat serve server status vendor help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from clock" -f -a "accept" -d 'Believe the server\'s wall clock as it stands now, after a jump that it held back'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from journal" -f -a "backup" -d 'Save the journal and the server\'s key into one file, while the server runs or not'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from journal" -f -a "check" -d 'Read a journal or a backup from end to end and say whether it is whole; nothing is changed'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from journal" -f -a "restore" -d 'Bring a backup back into a new data directory'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from license" -f -a "convert" -d 'Write a license as a file or on one line; both are the same license'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from license" -f -a "new" -d 'Write a draft, from nothing, a template or JSON'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from license" -f -a "renew" -d 'Write and sign the license that follows an old one'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from license" -f -a "show" -d 'Show what a license says'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from license" -f -a "sign" -d 'Sign a draft'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from license" -f -a "verify" -d 'Check a license against its vendor\'s verifier keys'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from license" -f -a "install" -d 'Install licenses on the server of this machine, while it runs'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from license" -f -a "list" -d 'List the licenses of the server of this machine'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from license" -f -a "remove" -d 'Take a license off the server; its seats end with the promises already made'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from license" -f -a "request" -d 'Write the signed request that a vendor needs to make a license for this server'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from presence" -f -a "allow" -d 'Let presence free seats early again in a network, before its day is over'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from quarantine" -f -a "end" -d 'Grant seats again now, although seats that were granted in lost history may still be in use'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from server" -f -a "avahi-service" -d 'Print the file with which Avahi announces this machine\'s server by mDNS'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from server" -f -a "id" -d 'Print the server\'s key, which licenses name'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from vendor" -f -a "init" -d 'Make a signing key, and print the verifier key that your applications embed'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from vendor" -f -a "retire" -d 'Take a key out of use, once no application that knows only this key is left'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from vendor" -f -a "rotate" -d 'Add the next key: from then on all active keys sign, so that old and new applications accept the same license'
complete -c triquest-lm -n "__fish_triquest_lm_using_subcommand help; and __fish_seen_subcommand_from vendor" -f -a "show" -d 'Print the verifier keys that your applications embed'
