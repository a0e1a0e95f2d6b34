# fish completion for secrets-sync. Made from the program's own declarations by `make generate`.

function __secrets_sync_names
    command secrets-sync status --json 2>/dev/null | grep -o '"name":"[^"]*","store"' | cut -d'"' -f4
end

complete -c secrets-sync -f
complete -c secrets-sync -s c -l config -r -F -d 'configuration file; default: $CONFIG_FILE, else ./config.yaml, else /etc/secrets-sync/config.yaml'
complete -c secrets-sync -n 'not __fish_seen_subcommand_from run isready validate init status doctor explain policy convert version help' -s V -l version -d 'print version, git revision, commit date, target and compiler'
complete -c secrets-sync -s h -l help -d 'tell the commands and options; behind a command, those of that command'

complete -c secrets-sync -n 'not __fish_seen_subcommand_from run isready validate init status doctor explain policy convert version help' -a run -d 'Run the daemon (default)'
complete -c secrets-sync -n '__fish_seen_subcommand_from run; or not __fish_seen_subcommand_from run isready validate init status doctor explain policy convert version help' -l once -d 'fetch and write every secret once, then exit'
complete -c secrets-sync -n '__fish_seen_subcommand_from run; or not __fish_seen_subcommand_from run isready validate init status doctor explain policy convert version help' -l dry-run -d 'fetch and render, write nothing, and say what would change'
complete -c secrets-sync -n '__fish_seen_subcommand_from run; or not __fish_seen_subcommand_from run isready validate init status doctor explain policy convert version help' -l timeout -x -d 'with --once or --dry-run: how long to try what may pass by itself; default 60s'

complete -c secrets-sync -n 'not __fish_seen_subcommand_from run isready validate init status doctor explain policy convert version help' -a isready -d 'Say whether the daemon is ready, without the network'
complete -c secrets-sync -n '__fish_seen_subcommand_from isready' -l status-file -r -F -d 'the daemon\'s status file; default: $STATUS_FILE, else where daemons write it'

complete -c secrets-sync -n 'not __fish_seen_subcommand_from run isready validate init status doctor explain policy convert version help' -a validate -d 'Check the configuration, offline, and print what was understood'

complete -c secrets-sync -n 'not __fish_seen_subcommand_from run isready validate init status doctor explain policy convert version help' -a init -d 'Print a commented sample configuration'

complete -c secrets-sync -n 'not __fish_seen_subcommand_from run isready validate init status doctor explain policy convert version help' -a status -d 'Show the daemon\'s secrets and their state'
complete -c secrets-sync -n '__fish_seen_subcommand_from status' -l json -d 'print the status document as JSON'
complete -c secrets-sync -n '__fish_seen_subcommand_from status' -l watch -d 'show it again at each change, until Ctrl-C'
complete -c secrets-sync -n '__fish_seen_subcommand_from status' -l status-file -r -F -d 'the daemon\'s status file; default: $STATUS_FILE, else where daemons write it'

complete -c secrets-sync -n 'not __fish_seen_subcommand_from run isready validate init status doctor explain policy convert version help' -a doctor -d 'Check everything that the daemon needs, and say what to do'
complete -c secrets-sync -n '__fish_seen_subcommand_from doctor' -l json -d 'print the checks as JSON'

complete -c secrets-sync -n 'not __fish_seen_subcommand_from run isready validate init status doctor explain policy convert version help' -a explain -d 'Tell everything about one secret: source, policy, session, files, attempts'
complete -c secrets-sync -n '__fish_seen_subcommand_from explain' -l json -d 'print it as JSON'
complete -c secrets-sync -n '__fish_seen_subcommand_from explain' -l status-file -r -F -d 'the daemon\'s status file; default: $STATUS_FILE, else where daemons write it'
complete -c secrets-sync -n '__fish_seen_subcommand_from explain' -a '(__secrets_sync_names)'

complete -c secrets-sync -n 'not __fish_seen_subcommand_from run isready validate init status doctor explain policy convert version help' -a policy -d 'Print the least that the server must allow, as a policy. Offline'
complete -c secrets-sync -n '__fish_seen_subcommand_from policy' -l store -x -d 'only for this store'
complete -c secrets-sync -n '__fish_seen_subcommand_from policy' -l credentials -x -a 'default' -d 'only for these credentials; those of the store itself are default'

complete -c secrets-sync -n 'not __fish_seen_subcommand_from run isready validate init status doctor explain policy convert version help' -a convert -d 'Turn manifests of External Secrets Operator, or an agent\'s configuration, into a configuration'
complete -c secrets-sync -n '__fish_seen_subcommand_from convert' -s o -l output -r -F -d 'where the configuration goes; default: standard output'
complete -c secrets-sync -n '__fish_seen_subcommand_from convert' -l from -x -a 'eso vault-agent consul-template' -d 'what the files are: eso (default), vault-agent or consul-template'
complete -c secrets-sync -n '__fish_seen_subcommand_from convert' -l output-dir -x -a '(__fish_complete_directories)' -d 'directory of the secrets\' files; default ./secrets'
complete -c secrets-sync -n '__fish_seen_subcommand_from convert' -l mount-path -x -d 'mount of the KV engine, where a store says none'
complete -c secrets-sync -n '__fish_seen_subcommand_from convert' -l kv-version -x -a 'v1 v2' -d 'version of the KV engine, where a store says none: v1 or v2'
complete -c secrets-sync -n '__fish_seen_subcommand_from convert' -l strict -d 'any warning is exit code 1'
complete -c secrets-sync -n '__fish_seen_subcommand_from convert' -l query-vault -d 'ask a server for the fields, the mount and the version of every secret'
complete -c secrets-sync -n '__fish_seen_subcommand_from convert' -l vault-addr -x -d 'its address'
complete -c secrets-sync -n '__fish_seen_subcommand_from convert' -l vault-token -x -d 'a token for it'
complete -c secrets-sync -n '__fish_seen_subcommand_from convert' -l vault-role-id -x -d 'a role ID for it'
complete -c secrets-sync -n '__fish_seen_subcommand_from convert' -l vault-secret-id -x -d 'a secret ID for it'
complete -c secrets-sync -n '__fish_seen_subcommand_from convert' -F

complete -c secrets-sync -n 'not __fish_seen_subcommand_from run isready validate init status doctor explain policy convert version help' -a version -d 'Print version, git revision, commit date, target and compiler'

complete -c secrets-sync -n 'not __fish_seen_subcommand_from run isready validate init status doctor explain policy convert version help' -a help -d 'tell the commands and options'
