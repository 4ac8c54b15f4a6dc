
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'triquest-lm' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'triquest-lm'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'triquest-lm' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('backup', 'backup', [CompletionResultType]::ParameterValue, 'The same as `journal backup`')
            [CompletionResult]::new('checkout', 'checkout', [CompletionResultType]::ParameterValue, 'Take a seat for a script and keep it until `release`')
            [CompletionResult]::new('clock', 'clock', [CompletionResultType]::ParameterValue, 'Believe the server''s clock again after a jump')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print the completion script of a shell')
            [CompletionResult]::new('doctor', 'doctor', [CompletionResultType]::ParameterValue, 'Look in order whether everything is well between this computer and its server')
            [CompletionResult]::new('events', 'events', [CompletionResultType]::ParameterValue, 'Show what has happened, and what happens')
            [CompletionResult]::new('find', 'find', [CompletionResultType]::ParameterValue, 'Look for license servers near, and at who they are')
            [CompletionResult]::new('journal', 'journal', [CompletionResultType]::ParameterValue, 'Check, save and restore what the server keeps')
            [CompletionResult]::new('license', 'license', [CompletionResultType]::ParameterValue, 'Make, check, install and list licenses')
            [CompletionResult]::new('man', 'man', [CompletionResultType]::ParameterValue, 'Write the manual pages into a folder')
            [CompletionResult]::new('port', 'port', [CompletionResultType]::ParameterValue, 'Tell what is on a port: registered for, listening here, genuine, what to do')
            [CompletionResult]::new('presence', 'presence', [CompletionResultType]::ParameterValue, 'Let the end of a program free its seats at once again')
            [CompletionResult]::new('quarantine', 'quarantine', [CompletionResultType]::ParameterValue, 'End the wait of a server that was restored or lost its history')
            [CompletionResult]::new('quickstart', 'quickstart', [CompletionResultType]::ParameterValue, 'Show the whole job on this machine: vendor, license, server, three clients')
            [CompletionResult]::new('quickstart-client', 'quickstart-client', [CompletionResultType]::ParameterValue, '`quickstart-client`: one of the three programs that want a seat. Obeys lines on its standard input, reports in JSON on its standard output')
            [CompletionResult]::new('reclaim', 'reclaim', [CompletionResultType]::ParameterValue, 'Take a lease back from its holder')
            [CompletionResult]::new('release', 'release', [CompletionResultType]::ParameterValue, 'Give back a seat that `checkout` took')
            [CompletionResult]::new('restore', 'restore', [CompletionResultType]::ParameterValue, 'The same as `journal restore`')
            [CompletionResult]::new('run', 'run', [CompletionResultType]::ParameterValue, 'Run a program while a seat is held for it')
            [CompletionResult]::new('run-program', 'run-program', [CompletionResultType]::ParameterValue, '`run-program GO FAILED -- PROGRAM NAME ARGUMENTS`: started by `run` while it asks for the seat')
            [CompletionResult]::new('run-watcher', 'run-watcher', [CompletionResultType]::ParameterValue, '`run-watcher PROGRAM`: started by `run` before it stops itself together with its program')
            [CompletionResult]::new('seat', 'seat', [CompletionResultType]::ParameterValue, 'Ask whether a seat that `checkout` took still holds')
            [CompletionResult]::new('serve', 'serve', [CompletionResultType]::ParameterValue, 'Run the server')
            [CompletionResult]::new('server', 'server', [CompletionResultType]::ParameterValue, 'Ask what the server of this machine is')
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Show who holds what, since when, how idle')
            [CompletionResult]::new('vendor', 'vendor', [CompletionResultType]::ParameterValue, 'Make and rotate the vendor''s signing keys')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'triquest-lm;backup' {
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;checkout' {
            [CompletionResult]::new('-f', '-f', [CompletionResultType]::ParameterName, 'Feature to check out, with seats and version of its own if given; several are granted all or none')
            [CompletionResult]::new('--feature', '--feature', [CompletionResultType]::ParameterName, 'Feature to check out, with seats and version of its own if given; several are granted all or none')
            [CompletionResult]::new('--seats', '--seats', [CompletionResultType]::ParameterName, 'Seats of each feature that names none')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'The program''s version, for each feature that names none')
            [CompletionResult]::new('--wait', '--wait', [CompletionResultType]::ParameterName, 'Wait for a seat for at most so long, such as 90s, 30m, 2h: in line, and for a server whose disk is full or that was restored')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'License servers, such as 1588@HOST, several with commas [default: TRIQUEST_LM_SERVER, else client.toml of the user or the machine, else DNS SRV]')
            [CompletionResult]::new('--verifier-key', '--verifier-key', [CompletionResultType]::ParameterName, 'The vendor''s verifier key (or a file that holds it), several with commas')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'Project that the use is booked to')
            [CompletionResult]::new('--lease-file', '--lease-file', [CompletionResultType]::ParameterName, 'Where to write the lease file [default: a new one in $XDG_RUNTIME_DIR/triquest-lm]')
            [CompletionResult]::new('--for', '--for', [CompletionResultType]::ParameterName, 'Give the seat back when this process has ended')
            [CompletionResult]::new('--on-lost', '--on-lost', [CompletionResultType]::ParameterName, 'What becomes of the process of --for if its seat is lost, after every grace')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--accept-any-server', '--accept-any-server', [CompletionResultType]::ParameterName, 'Accept a license with servers = "any", which anyone who has the file can serve')
            [CompletionResult]::new('--hold', '--hold', [CompletionResultType]::ParameterName, 'Stay in the foreground and hold the seat until a signal')
            [CompletionResult]::new('--keeper', '--keeper', [CompletionResultType]::ParameterName, 'The process that keeps the seat')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'triquest-lm;clock' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('accept', 'accept', [CompletionResultType]::ParameterValue, 'Believe the server''s wall clock as it stands now, after a jump that it held back')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'triquest-lm;clock;accept' {
            [CompletionResult]::new('--reason', '--reason', [CompletionResultType]::ParameterName, 'Why, for the record')
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;clock;help' {
            [CompletionResult]::new('accept', 'accept', [CompletionResultType]::ParameterValue, 'Believe the server''s wall clock as it stands now, after a jump that it held back')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'triquest-lm;clock;help;accept' {
            break
        }
        'triquest-lm;clock;help;help' {
            break
        }
        'triquest-lm;completions' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;doctor' {
            [CompletionResult]::new('-f', '-f', [CompletionResultType]::ParameterName, 'The feature whose seats matter')
            [CompletionResult]::new('--feature', '--feature', [CompletionResultType]::ParameterName, 'The feature whose seats matter')
            [CompletionResult]::new('--verifier-key', '--verifier-key', [CompletionResultType]::ParameterName, 'The vendor''s verifier key (or a file that holds it), several with commas [env: TRIQUEST_LM_VERIFIER_KEY]')
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--accept-any-server', '--accept-any-server', [CompletionResultType]::ParameterName, 'Accept a license with servers = "any", as programs do that are told to')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;events' {
            [CompletionResult]::new('--after', '--after', [CompletionResultType]::ParameterName, 'Begin after this cursor (LINEAGE.EPOCH.INDEX.NUMBER, as --json shows it under "cursor")')
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-f', '-f', [CompletionResultType]::ParameterName, 'Go on with what happens, until Ctrl-C')
            [CompletionResult]::new('--follow', '--follow', [CompletionResultType]::ParameterName, 'Go on with what happens, until Ctrl-C')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'One JSON object on each line')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;find' {
            [CompletionResult]::new('-f', '-f', [CompletionResultType]::ParameterName, 'Show the seats of this feature too; needs --verifier-key; may be repeated')
            [CompletionResult]::new('--feature', '--feature', [CompletionResultType]::ParameterName, 'Show the seats of this feature too; needs --verifier-key; may be repeated')
            [CompletionResult]::new('--domain', '--domain', [CompletionResultType]::ParameterName, 'Ask DNS about this domain instead of those of this machine')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'Listen for so long for answers of the network, such as 2s')
            [CompletionResult]::new('--port', '--port', [CompletionResultType]::ParameterName, 'The port to ask over UDP')
            [CompletionResult]::new('--verifier-key', '--verifier-key', [CompletionResultType]::ParameterName, 'The vendor''s verifier key (or a file that holds it), several with commas [env: TRIQUEST_LM_VERIFIER_KEY]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--no-mdns', '--no-mdns', [CompletionResultType]::ParameterName, 'Do not listen for mDNS')
            [CompletionResult]::new('--remember', '--remember', [CompletionResultType]::ParameterName, 'Keep the keys that are proved now in ~/.local/share/triquest-lm/known_servers: from then on they are known, and another one is called out. Loopback and link-local addresses are never kept')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'As JSON: {"servers": [...], "looked": [...]}')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;journal' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('backup', 'backup', [CompletionResultType]::ParameterValue, 'Save the journal and the server''s key into one file, while the server runs or not')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Read a journal or a backup from end to end and say whether it is whole; nothing is changed')
            [CompletionResult]::new('restore', 'restore', [CompletionResultType]::ParameterValue, 'Bring a backup back into a new data directory')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'triquest-lm;journal;backup' {
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;journal;check' {
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'As JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;journal;restore' {
            [CompletionResult]::new('--quarantine', '--quarantine', [CompletionResultType]::ParameterName, 'Grant nothing new for so long, at most 24h, if that is longer than what the licenses known here may have promised; 24h is certain')
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;journal;help' {
            [CompletionResult]::new('backup', 'backup', [CompletionResultType]::ParameterValue, 'Save the journal and the server''s key into one file, while the server runs or not')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Read a journal or a backup from end to end and say whether it is whole; nothing is changed')
            [CompletionResult]::new('restore', 'restore', [CompletionResultType]::ParameterValue, 'Bring a backup back into a new data directory')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'triquest-lm;journal;help;backup' {
            break
        }
        'triquest-lm;journal;help;check' {
            break
        }
        'triquest-lm;journal;help;restore' {
            break
        }
        'triquest-lm;journal;help;help' {
            break
        }
        'triquest-lm;license' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('convert', 'convert', [CompletionResultType]::ParameterValue, 'Write a license as a file or on one line; both are the same license')
            [CompletionResult]::new('new', 'new', [CompletionResultType]::ParameterValue, 'Write a draft, from nothing, a template or JSON')
            [CompletionResult]::new('renew', 'renew', [CompletionResultType]::ParameterValue, 'Write and sign the license that follows an old one')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Show what a license says')
            [CompletionResult]::new('sign', 'sign', [CompletionResultType]::ParameterValue, 'Sign a draft')
            [CompletionResult]::new('verify', 'verify', [CompletionResultType]::ParameterValue, 'Check a license against its vendor''s verifier keys')
            [CompletionResult]::new('install', 'install', [CompletionResultType]::ParameterValue, 'Install licenses on the server of this machine, while it runs')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the licenses of the server of this machine')
            [CompletionResult]::new('remove', 'remove', [CompletionResultType]::ParameterValue, 'Take a license off the server; its seats end with the promises already made')
            [CompletionResult]::new('request', 'request', [CompletionResultType]::ParameterValue, 'Write the signed request that a vendor needs to make a license for this server')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'triquest-lm;license;convert' {
            [CompletionResult]::new('--to', '--to', [CompletionResultType]::ParameterName, 'What to write')
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'Write to this file instead of standard output')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'Write to this file instead of standard output')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'triquest-lm;license;new' {
            [CompletionResult]::new('--id', '--id', [CompletionResultType]::ParameterName, 'The license''s id: your own number for it')
            [CompletionResult]::new('--template', '--template', [CompletionResultType]::ParameterName, 'A draft to start from, whose comments stay; or a signed license, without its id, vendor, date of issue and signatures')
            [CompletionResult]::new('--from-json', '--from-json', [CompletionResultType]::ParameterName, 'JSON to start from: {"license": ..., "licensee": ..., "servers": [...], "entitlement": [{"feature": ..., "seats": ...}]}')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set a value in the draft, like licensee="Initech GmbH" or entitlement.cad-pro.seats=25; an empty one takes it out')
            [CompletionResult]::new('--server-request', '--server-request', [CompletionResultType]::ParameterName, 'Let the server serve it that made this request (`triquest-lm license request`), once checked')
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'Write to this file instead of standard output')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'Write to this file instead of standard output')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;license;renew' {
            [CompletionResult]::new('--until', '--until', [CompletionResultType]::ParameterName, 'The new last day, like 2028-12-31')
            [CompletionResult]::new('--id', '--id', [CompletionResultType]::ParameterName, 'The new license''s id [default: the old one with -r2, -r3 ...]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set a value in the draft, like licensee="Initech GmbH" or entitlement.cad-pro.seats=25; an empty one takes it out')
            [CompletionResult]::new('--server-request', '--server-request', [CompletionResultType]::ParameterName, 'Let the server serve it that made this request (`triquest-lm license request`), once checked')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The vendor''s key file [default: triquest-lm/vendor.key in your configuration folder]')
            [CompletionResult]::new('--signer', '--signer', [CompletionResultType]::ParameterName, 'Let this command sign: it gets the text on standard input, and writes the signature to standard output')
            [CompletionResult]::new('--verifier-key', '--verifier-key', [CompletionResultType]::ParameterName, 'The verifier keys that the text names, several with commas, or repeated: of --signer, or of whoever signs what --prepare prints. With a key file [default: its active keys]; those that are not in it sign later, elsewhere')
            [CompletionResult]::new('--issued', '--issued', [CompletionResultType]::ParameterName, 'The date of issue [default: today]')
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'Write to this file instead of standard output')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'Write to this file instead of standard output')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--draft', '--draft', [CompletionResultType]::ParameterName, 'Print the draft of the new license and sign nothing')
            [CompletionResult]::new('--line', '--line', [CompletionResultType]::ParameterName, 'On one line (tql1....)')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'As JSON: what it says, and the file and the line')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;license;show' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'As JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;license;sign' {
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set a value in the draft, like licensee="Initech GmbH" or entitlement.cad-pro.seats=25; an empty one takes it out')
            [CompletionResult]::new('--server-request', '--server-request', [CompletionResultType]::ParameterName, 'Let the server serve it that made this request (`triquest-lm license request`), once checked')
            [CompletionResult]::new('--attach', '--attach', [CompletionResultType]::ParameterName, 'Put this signature of the prepared text under it: 64 bytes, or base64 or hexadecimal digits of them')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The vendor''s key file [default: triquest-lm/vendor.key in your configuration folder]')
            [CompletionResult]::new('--signer', '--signer', [CompletionResultType]::ParameterName, 'Let this command sign: it gets the text on standard input, and writes the signature to standard output')
            [CompletionResult]::new('--verifier-key', '--verifier-key', [CompletionResultType]::ParameterName, 'The verifier keys that the text names, several with commas, or repeated: of --signer, or of whoever signs what --prepare prints. With a key file [default: its active keys]; those that are not in it sign later, elsewhere')
            [CompletionResult]::new('--issued', '--issued', [CompletionResultType]::ParameterName, 'The date of issue [default: today]')
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'Write to this file instead of standard output')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'Write to this file instead of standard output')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--any-server', '--any-server', [CompletionResultType]::ParameterName, 'Everybody who has the file may serve it: servers = "any" is meant')
            [CompletionResult]::new('--each-server-counts', '--each-server-counts', [CompletionResultType]::ParameterName, 'Several servers are listed, and each having the full count is meant')
            [CompletionResult]::new('--prepare', '--prepare', [CompletionResultType]::ParameterName, 'Only print the text that is to be signed, for a machine without network that has the key')
            [CompletionResult]::new('--line', '--line', [CompletionResultType]::ParameterName, 'On one line (tql1....)')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'As JSON: what it says, and the file and the line')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;license;verify' {
            [CompletionResult]::new('--verifier-key', '--verifier-key', [CompletionResultType]::ParameterName, 'The vendor''s verifier key (or a file that holds it); several with commas, or repeated. One of them must have signed')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'Also check that this server may serve it')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'As JSON, a refusal too')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;license;install' {
            [CompletionResult]::new('--reason', '--reason', [CompletionResultType]::ParameterName, 'Why, for the record')
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;license;list' {
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'As JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;license;remove' {
            [CompletionResult]::new('--vendor', '--vendor', [CompletionResultType]::ParameterName, 'The vendor, if two have a license of this id')
            [CompletionResult]::new('--reason', '--reason', [CompletionResultType]::ParameterName, 'Why, for the record')
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;license;request' {
            [CompletionResult]::new('--host', '--host', [CompletionResultType]::ParameterName, 'The host''s name in the request, for people [default: this machine''s]')
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'Write it into a new file instead of standard output')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'Write it into a new file instead of standard output')
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;license;help' {
            [CompletionResult]::new('convert', 'convert', [CompletionResultType]::ParameterValue, 'Write a license as a file or on one line; both are the same license')
            [CompletionResult]::new('new', 'new', [CompletionResultType]::ParameterValue, 'Write a draft, from nothing, a template or JSON')
            [CompletionResult]::new('renew', 'renew', [CompletionResultType]::ParameterValue, 'Write and sign the license that follows an old one')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Show what a license says')
            [CompletionResult]::new('sign', 'sign', [CompletionResultType]::ParameterValue, 'Sign a draft')
            [CompletionResult]::new('verify', 'verify', [CompletionResultType]::ParameterValue, 'Check a license against its vendor''s verifier keys')
            [CompletionResult]::new('install', 'install', [CompletionResultType]::ParameterValue, 'Install licenses on the server of this machine, while it runs')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the licenses of the server of this machine')
            [CompletionResult]::new('remove', 'remove', [CompletionResultType]::ParameterValue, 'Take a license off the server; its seats end with the promises already made')
            [CompletionResult]::new('request', 'request', [CompletionResultType]::ParameterValue, 'Write the signed request that a vendor needs to make a license for this server')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'triquest-lm;license;help;convert' {
            break
        }
        'triquest-lm;license;help;new' {
            break
        }
        'triquest-lm;license;help;renew' {
            break
        }
        'triquest-lm;license;help;show' {
            break
        }
        'triquest-lm;license;help;sign' {
            break
        }
        'triquest-lm;license;help;verify' {
            break
        }
        'triquest-lm;license;help;install' {
            break
        }
        'triquest-lm;license;help;list' {
            break
        }
        'triquest-lm;license;help;remove' {
            break
        }
        'triquest-lm;license;help;request' {
            break
        }
        'triquest-lm;license;help;help' {
            break
        }
        'triquest-lm;man' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;port' {
            [CompletionResult]::new('--host', '--host', [CompletionResultType]::ParameterName, 'Ask this host instead of this machine; its sockets cannot be seen from here')
            [CompletionResult]::new('--verifier-key', '--verifier-key', [CompletionResultType]::ParameterName, 'The vendor''s verifier key (or a file that holds it), several with commas: a server that their licenses list is known [env: TRIQUEST_LM_VERIFIER_KEY]')
            [CompletionResult]::new('--server-key', '--server-key', [CompletionResultType]::ParameterName, 'The server key that must answer there, as `server id` prints it: whatever listens is asked to prove it, on every port; may be repeated')
            [CompletionResult]::new('--watch', '--watch', [CompletionResultType]::ParameterName, 'Look again and again, every so many seconds, until Ctrl-C')
            [CompletionResult]::new('--update', '--update', [CompletionResultType]::ParameterName, 'Take IANA''s current registry (XML or CSV, as published) and say what changed')
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--all', '--all', [CompletionResultType]::ParameterName, 'Every listener of this machine')
            [CompletionResult]::new('--no-probe', '--no-probe', [CompletionResultType]::ParameterName, 'Look only: ask nothing of what listens')
            [CompletionResult]::new('--remember', '--remember', [CompletionResultType]::ParameterName, 'Keep the keys that are proved now: from then on they are known at their addresses')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'As JSON, for monitoring')
            [CompletionResult]::new('--although-older', '--although-older', [CompletionResultType]::ParameterName, 'With --update: take it although it is older than the one that is built in')
            [CompletionResult]::new('--feedback', '--feedback', [CompletionResultType]::ParameterName, 'How often the pages of this machine''s server were found helpful')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;presence' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('allow', 'allow', [CompletionResultType]::ParameterValue, 'Let presence free seats early again in a network, before its day is over')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'triquest-lm;presence;allow' {
            [CompletionResult]::new('--reason', '--reason', [CompletionResultType]::ParameterName, 'Why, for the record')
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;presence;help' {
            [CompletionResult]::new('allow', 'allow', [CompletionResultType]::ParameterValue, 'Let presence free seats early again in a network, before its day is over')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'triquest-lm;presence;help;allow' {
            break
        }
        'triquest-lm;presence;help;help' {
            break
        }
        'triquest-lm;quarantine' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('end', 'end', [CompletionResultType]::ParameterValue, 'Grant seats again now, although seats that were granted in lost history may still be in use')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'triquest-lm;quarantine;end' {
            [CompletionResult]::new('--lineage', '--lineage', [CompletionResultType]::ParameterName, 'The history whose quarantine was looked at, as `status` and `doctor` name it: if another has begun since, nothing ends. Without it the quarantine that runs when the command is given ends')
            [CompletionResult]::new('--reason', '--reason', [CompletionResultType]::ParameterName, 'Why, for the record')
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;quarantine;help' {
            [CompletionResult]::new('end', 'end', [CompletionResultType]::ParameterValue, 'Grant seats again now, although seats that were granted in lost history may still be in use')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'triquest-lm;quarantine;help;end' {
            break
        }
        'triquest-lm;quarantine;help;help' {
            break
        }
        'triquest-lm;quickstart' {
            [CompletionResult]::new('--listen', '--listen', [CompletionResultType]::ParameterName, 'Where to listen; port 0 takes any free one')
            [CompletionResult]::new('--dir', '--dir', [CompletionResultType]::ParameterName, 'The folder for everything it makes')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--once', '--once', [CompletionResultType]::ParameterName, 'End after the demonstration; exit code 0 only if all of it happened')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;quickstart-client' {
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'server')
            [CompletionResult]::new('--verifier-key', '--verifier-key', [CompletionResultType]::ParameterName, 'verifier-key')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;reclaim' {
            [CompletionResult]::new('--reason', '--reason', [CompletionResultType]::ParameterName, 'Why, for the record')
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--now', '--now', [CompletionResultType]::ParameterName, 'Free the seats at once, before the holder has stopped; recorded as possible over-use')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;release' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;restore' {
            [CompletionResult]::new('--quarantine', '--quarantine', [CompletionResultType]::ParameterName, 'Grant nothing new for so long, at most 24h, if that is longer than what the licenses known here may have promised; 24h is certain')
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;run' {
            [CompletionResult]::new('-f', '-f', [CompletionResultType]::ParameterName, 'Feature to check out, with seats and version of its own if given; several are granted all or none')
            [CompletionResult]::new('--feature', '--feature', [CompletionResultType]::ParameterName, 'Feature to check out, with seats and version of its own if given; several are granted all or none')
            [CompletionResult]::new('--seats', '--seats', [CompletionResultType]::ParameterName, 'Seats of each feature that names none')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'The program''s version, for each feature that names none')
            [CompletionResult]::new('--wait', '--wait', [CompletionResultType]::ParameterName, 'Wait for a seat for at most so long, such as 90s, 30m, 2h: in line, and for a server whose disk is full or that was restored')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'License servers, such as 1588@HOST, several with commas [default: TRIQUEST_LM_SERVER, else client.toml of the user or the machine, else DNS SRV]')
            [CompletionResult]::new('--verifier-key', '--verifier-key', [CompletionResultType]::ParameterName, 'The vendor''s verifier key (or a file that holds it), several with commas')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'Project that the use is booked to')
            [CompletionResult]::new('--on-lost', '--on-lost', [CompletionResultType]::ParameterName, 'What becomes of the program if its seat is lost, after every grace')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--accept-any-server', '--accept-any-server', [CompletionResultType]::ParameterName, 'Accept a license with servers = "any", which anyone who has the file can serve')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'triquest-lm;run-program' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;run-watcher' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;seat' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'As JSON: {"held": true, "answered": whether the server said so now, "heard_ms": how long ago it did, "ending_ms": in how long it ends for good or null, "ending": "why", "lost": "why, the last time"}')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;serve' {
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: config.toml in the data directory, if there is one; env: TRIQUEST_LM_CONFIG]')
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm; env: TRIQUEST_LM_DATA]')
            [CompletionResult]::new('--listen', '--listen', [CompletionResultType]::ParameterName, 'Where to listen, any number of times [default: port 1588 on every address; env: TRIQUEST_LM_LISTEN]')
            [CompletionResult]::new('--end-quarantine', '--end-quarantine', [CompletionResultType]::ParameterName, 'Grant again at once after the restore or rollback that began this history, although seats granted in lost history may still be in use. It names the history as `journal restore`, the log and `status` do; the quarantine of another one goes on, so that a flag that is left here ends no later one')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Form of the log [default: text; env: TRIQUEST_LM_LOG_FORMAT]')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'How much is logged [default: info; env: TRIQUEST_LM_LOG_LEVEL]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--init', '--init', [CompletionResultType]::ParameterName, 'Begin in a named data directory without a journal: a new server with a new key; if a server''s key is there, it is kept, and a new history begins that grants nothing until seats of the lost one must have ended')
            [CompletionResult]::new('--check', '--check', [CompletionResultType]::ParameterName, 'Check the configuration and the data directory, say what is wrong or what a start would begin, and exit as the start would')
            [CompletionResult]::new('--accept-clock', '--accept-clock', [CompletionResultType]::ParameterName, 'Believe the wall clock as it stands now, even if it jumped')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'triquest-lm;server' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('avahi-service', 'avahi-service', [CompletionResultType]::ParameterValue, 'Print the file with which Avahi announces this machine''s server by mDNS')
            [CompletionResult]::new('id', 'id', [CompletionResultType]::ParameterValue, 'Print the server''s key, which licenses name')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'triquest-lm;server;avahi-service' {
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'triquest-lm;server;id' {
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'As JSON, with the instance and the history of the running server')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;server;help' {
            [CompletionResult]::new('avahi-service', 'avahi-service', [CompletionResultType]::ParameterValue, 'Print the file with which Avahi announces this machine''s server by mDNS')
            [CompletionResult]::new('id', 'id', [CompletionResultType]::ParameterValue, 'Print the server''s key, which licenses name')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'triquest-lm;server;help;avahi-service' {
            break
        }
        'triquest-lm;server;help;id' {
            break
        }
        'triquest-lm;server;help;help' {
            break
        }
        'triquest-lm;status' {
            [CompletionResult]::new('--watch', '--watch', [CompletionResultType]::ParameterName, 'Look again and again, every so many seconds, until Ctrl-C')
            [CompletionResult]::new('--server', '--server', [CompletionResultType]::ParameterName, 'Counts from this server over the network (1588@HOST), without names; needs --verifier-key [default: the server of this machine; if none runs here and --verifier-key is given, the one that TRIQUEST_LM_SERVER, client.toml or DNS SRV names]')
            [CompletionResult]::new('--verifier-key', '--verifier-key', [CompletionResultType]::ParameterName, 'The vendor''s verifier key (or a file that holds it) for --server, several with commas [env: TRIQUEST_LM_VERIFIER_KEY]')
            [CompletionResult]::new('--data', '--data', [CompletionResultType]::ParameterName, 'Data directory of the server on this machine [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'As JSON: {"status": ..., "leases": [...]}')
            [CompletionResult]::new('--csv', '--csv', [CompletionResultType]::ParameterName, 'The leases as CSV, for spreadsheets')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;vendor' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('init', 'init', [CompletionResultType]::ParameterValue, 'Make a signing key, and print the verifier key that your applications embed')
            [CompletionResult]::new('retire', 'retire', [CompletionResultType]::ParameterValue, 'Take a key out of use, once no application that knows only this key is left')
            [CompletionResult]::new('rotate', 'rotate', [CompletionResultType]::ParameterValue, 'Add the next key: from then on all active keys sign, so that old and new applications accept the same license')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Print the verifier keys that your applications embed')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'triquest-lm;vendor;init' {
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The vendor''s key file [default: triquest-lm/vendor.key in your configuration folder]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'As JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;vendor;retire' {
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The vendor''s key file [default: triquest-lm/vendor.key in your configuration folder]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;vendor;rotate' {
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The vendor''s key file [default: triquest-lm/vendor.key in your configuration folder]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'As JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;vendor;show' {
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The vendor''s key file [default: triquest-lm/vendor.key in your configuration folder]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'As JSON')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'triquest-lm;vendor;help' {
            [CompletionResult]::new('init', 'init', [CompletionResultType]::ParameterValue, 'Make a signing key, and print the verifier key that your applications embed')
            [CompletionResult]::new('retire', 'retire', [CompletionResultType]::ParameterValue, 'Take a key out of use, once no application that knows only this key is left')
            [CompletionResult]::new('rotate', 'rotate', [CompletionResultType]::ParameterValue, 'Add the next key: from then on all active keys sign, so that old and new applications accept the same license')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Print the verifier keys that your applications embed')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'triquest-lm;vendor;help;init' {
            break
        }
        'triquest-lm;vendor;help;retire' {
            break
        }
        'triquest-lm;vendor;help;rotate' {
            break
        }
        'triquest-lm;vendor;help;show' {
            break
        }
        'triquest-lm;vendor;help;help' {
            break
        }
        'triquest-lm;help' {
            [CompletionResult]::new('backup', 'backup', [CompletionResultType]::ParameterValue, 'The same as `journal backup`')
            [CompletionResult]::new('checkout', 'checkout', [CompletionResultType]::ParameterValue, 'Take a seat for a script and keep it until `release`')
            [CompletionResult]::new('clock', 'clock', [CompletionResultType]::ParameterValue, 'Believe the server''s clock again after a jump')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print the completion script of a shell')
            [CompletionResult]::new('doctor', 'doctor', [CompletionResultType]::ParameterValue, 'Look in order whether everything is well between this computer and its server')
            [CompletionResult]::new('events', 'events', [CompletionResultType]::ParameterValue, 'Show what has happened, and what happens')
            [CompletionResult]::new('find', 'find', [CompletionResultType]::ParameterValue, 'Look for license servers near, and at who they are')
            [CompletionResult]::new('journal', 'journal', [CompletionResultType]::ParameterValue, 'Check, save and restore what the server keeps')
            [CompletionResult]::new('license', 'license', [CompletionResultType]::ParameterValue, 'Make, check, install and list licenses')
            [CompletionResult]::new('man', 'man', [CompletionResultType]::ParameterValue, 'Write the manual pages into a folder')
            [CompletionResult]::new('port', 'port', [CompletionResultType]::ParameterValue, 'Tell what is on a port: registered for, listening here, genuine, what to do')
            [CompletionResult]::new('presence', 'presence', [CompletionResultType]::ParameterValue, 'Let the end of a program free its seats at once again')
            [CompletionResult]::new('quarantine', 'quarantine', [CompletionResultType]::ParameterValue, 'End the wait of a server that was restored or lost its history')
            [CompletionResult]::new('quickstart', 'quickstart', [CompletionResultType]::ParameterValue, 'Show the whole job on this machine: vendor, license, server, three clients')
            [CompletionResult]::new('quickstart-client', 'quickstart-client', [CompletionResultType]::ParameterValue, '`quickstart-client`: one of the three programs that want a seat. Obeys lines on its standard input, reports in JSON on its standard output')
            [CompletionResult]::new('reclaim', 'reclaim', [CompletionResultType]::ParameterValue, 'Take a lease back from its holder')
            [CompletionResult]::new('release', 'release', [CompletionResultType]::ParameterValue, 'Give back a seat that `checkout` took')
            [CompletionResult]::new('restore', 'restore', [CompletionResultType]::ParameterValue, 'The same as `journal restore`')
            [CompletionResult]::new('run', 'run', [CompletionResultType]::ParameterValue, 'Run a program while a seat is held for it')
            [CompletionResult]::new('run-program', 'run-program', [CompletionResultType]::ParameterValue, '`run-program GO FAILED -- PROGRAM NAME ARGUMENTS`: started by `run` while it asks for the seat')
            [CompletionResult]::new('run-watcher', 'run-watcher', [CompletionResultType]::ParameterValue, '`run-watcher PROGRAM`: started by `run` before it stops itself together with its program')
            [CompletionResult]::new('seat', 'seat', [CompletionResultType]::ParameterValue, 'Ask whether a seat that `checkout` took still holds')
            [CompletionResult]::new('serve', 'serve', [CompletionResultType]::ParameterValue, 'Run the server')
            [CompletionResult]::new('server', 'server', [CompletionResultType]::ParameterValue, 'Ask what the server of this machine is')
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Show who holds what, since when, how idle')
            [CompletionResult]::new('vendor', 'vendor', [CompletionResultType]::ParameterValue, 'Make and rotate the vendor''s signing keys')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'triquest-lm;help;backup' {
            break
        }
        'triquest-lm;help;checkout' {
            break
        }
        'triquest-lm;help;clock' {
            [CompletionResult]::new('accept', 'accept', [CompletionResultType]::ParameterValue, 'Believe the server''s wall clock as it stands now, after a jump that it held back')
            break
        }
        'triquest-lm;help;clock;accept' {
            break
        }
        'triquest-lm;help;completions' {
            break
        }
        'triquest-lm;help;doctor' {
            break
        }
        'triquest-lm;help;events' {
            break
        }
        'triquest-lm;help;find' {
            break
        }
        'triquest-lm;help;journal' {
            [CompletionResult]::new('backup', 'backup', [CompletionResultType]::ParameterValue, 'Save the journal and the server''s key into one file, while the server runs or not')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Read a journal or a backup from end to end and say whether it is whole; nothing is changed')
            [CompletionResult]::new('restore', 'restore', [CompletionResultType]::ParameterValue, 'Bring a backup back into a new data directory')
            break
        }
        'triquest-lm;help;journal;backup' {
            break
        }
        'triquest-lm;help;journal;check' {
            break
        }
        'triquest-lm;help;journal;restore' {
            break
        }
        'triquest-lm;help;license' {
            [CompletionResult]::new('convert', 'convert', [CompletionResultType]::ParameterValue, 'Write a license as a file or on one line; both are the same license')
            [CompletionResult]::new('new', 'new', [CompletionResultType]::ParameterValue, 'Write a draft, from nothing, a template or JSON')
            [CompletionResult]::new('renew', 'renew', [CompletionResultType]::ParameterValue, 'Write and sign the license that follows an old one')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Show what a license says')
            [CompletionResult]::new('sign', 'sign', [CompletionResultType]::ParameterValue, 'Sign a draft')
            [CompletionResult]::new('verify', 'verify', [CompletionResultType]::ParameterValue, 'Check a license against its vendor''s verifier keys')
            [CompletionResult]::new('install', 'install', [CompletionResultType]::ParameterValue, 'Install licenses on the server of this machine, while it runs')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the licenses of the server of this machine')
            [CompletionResult]::new('remove', 'remove', [CompletionResultType]::ParameterValue, 'Take a license off the server; its seats end with the promises already made')
            [CompletionResult]::new('request', 'request', [CompletionResultType]::ParameterValue, 'Write the signed request that a vendor needs to make a license for this server')
            break
        }
        'triquest-lm;help;license;convert' {
            break
        }
        'triquest-lm;help;license;new' {
            break
        }
        'triquest-lm;help;license;renew' {
            break
        }
        'triquest-lm;help;license;show' {
            break
        }
        'triquest-lm;help;license;sign' {
            break
        }
        'triquest-lm;help;license;verify' {
            break
        }
        'triquest-lm;help;license;install' {
            break
        }
        'triquest-lm;help;license;list' {
            break
        }
        'triquest-lm;help;license;remove' {
            break
        }
        'triquest-lm;help;license;request' {
            break
        }
        'triquest-lm;help;man' {
            break
        }
        'triquest-lm;help;port' {
            break
        }
        'triquest-lm;help;presence' {
            [CompletionResult]::new('allow', 'allow', [CompletionResultType]::ParameterValue, 'Let presence free seats early again in a network, before its day is over')
            break
        }
        'triquest-lm;help;presence;allow' {
            break
        }
        'triquest-lm;help;quarantine' {
            [CompletionResult]::new('end', 'end', [CompletionResultType]::ParameterValue, 'Grant seats again now, although seats that were granted in lost history may still be in use')
            break
        }
        'triquest-lm;help;quarantine;end' {
            break
        }
        'triquest-lm;help;quickstart' {
            break
        }
        'triquest-lm;help;quickstart-client' {
            break
        }
        'triquest-lm;help;reclaim' {
            break
        }
        'triquest-lm;help;release' {
            break
        }
        'triquest-lm;help;restore' {
            break
        }
        'triquest-lm;help;run' {
            break
        }
        'triquest-lm;help;run-program' {
            break
        }
        'triquest-lm;help;run-watcher' {
            break
        }
        'triquest-lm;help;seat' {
            break
        }
        'triquest-lm;help;serve' {
            break
        }
        'triquest-lm;help;server' {
            [CompletionResult]::new('avahi-service', 'avahi-service', [CompletionResultType]::ParameterValue, 'Print the file with which Avahi announces this machine''s server by mDNS')
            [CompletionResult]::new('id', 'id', [CompletionResultType]::ParameterValue, 'Print the server''s key, which licenses name')
            break
        }
        'triquest-lm;help;server;avahi-service' {
            break
        }
        'triquest-lm;help;server;id' {
            break
        }
        'triquest-lm;help;status' {
            break
        }
        'triquest-lm;help;vendor' {
            [CompletionResult]::new('init', 'init', [CompletionResultType]::ParameterValue, 'Make a signing key, and print the verifier key that your applications embed')
            [CompletionResult]::new('retire', 'retire', [CompletionResultType]::ParameterValue, 'Take a key out of use, once no application that knows only this key is left')
            [CompletionResult]::new('rotate', 'rotate', [CompletionResultType]::ParameterValue, 'Add the next key: from then on all active keys sign, so that old and new applications accept the same license')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Print the verifier keys that your applications embed')
            break
        }
        'triquest-lm;help;vendor;init' {
            break
        }
        'triquest-lm;help;vendor;retire' {
            break
        }
        'triquest-lm;help;vendor;rotate' {
            break
        }
        'triquest-lm;help;vendor;show' {
            break
        }
        'triquest-lm;help;help' {
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
