# bash completion for secrets-sync. Made from the program's own declarations by `make generate`.
# shellcheck shell=bash

_secrets_sync_names() {
  command secrets-sync status --json 2>/dev/null | grep -o '"name":"[^"]*","store"' | cut -d'"' -f4
}

_secrets_sync_words() {
  mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_secrets_sync_files() {
  mapfile -t COMPREPLY < <(compgen "$1" -- "$2")
  compopt -o filenames 2>/dev/null
}

_secrets_sync() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} word command='' i
  COMPREPLY=()
  # bash parts `--key=value` at the sign.
  if [[ $cur == = ]]; then
    cur=
  elif [[ $prev == = ]] && ((COMP_CWORD > 1)); then
    prev=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    case $word in
      --config | --credentials | --from | --kv-version | --mount-path | --output | --output-dir | --status-file | --store | --timeout | --vault-addr | --vault-role-id | --vault-secret-id | --vault-token | -c | -o)
        [[ ${COMP_WORDS[i + 1]} == = ]] && ((i++))
        ((i++)) ;;
      -* | =) ;;
      *)
        command=$word
        break ;;
    esac
  done
  case $prev in
    -c | --config)
      _secrets_sync_files -f "$cur"
      return ;;
    --timeout)
      :
      return ;;
    --status-file)
      _secrets_sync_files -f "$cur"
      return ;;
    --store)
      :
      return ;;
    --credentials)
      _secrets_sync_words 'default' "$cur"
      return ;;
    -o | --output)
      _secrets_sync_files -f "$cur"
      return ;;
    --from)
      _secrets_sync_words 'eso vault-agent consul-template' "$cur"
      return ;;
    --output-dir)
      _secrets_sync_files -d "$cur"
      return ;;
    --mount-path)
      :
      return ;;
    --kv-version)
      _secrets_sync_words 'v1 v2' "$cur"
      return ;;
    --vault-addr)
      :
      return ;;
    --vault-token)
      :
      return ;;
    --vault-role-id)
      :
      return ;;
    --vault-secret-id)
      :
      return ;;
  esac
  case $command in
    run)
      if [[ $cur == -* ]]; then
        _secrets_sync_words '--once --dry-run --timeout -c --config -h --help' "$cur"
      fi
      ;;
    isready)
      if [[ $cur == -* ]]; then
        _secrets_sync_words '--status-file -c --config -h --help' "$cur"
      fi
      ;;
    validate)
      if [[ $cur == -* ]]; then
        _secrets_sync_words '-c --config -h --help' "$cur"
      fi
      ;;
    init)
      if [[ $cur == -* ]]; then
        _secrets_sync_words '-c --config -h --help' "$cur"
      fi
      ;;
    status)
      if [[ $cur == -* ]]; then
        _secrets_sync_words '--json --watch --status-file -c --config -h --help' "$cur"
      fi
      ;;
    doctor)
      if [[ $cur == -* ]]; then
        _secrets_sync_words '--json -c --config -h --help' "$cur"
      fi
      ;;
    explain)
      if [[ $cur == -* ]]; then
        _secrets_sync_words '--json --status-file -c --config -h --help' "$cur"
      else
        _secrets_sync_words "$(_secrets_sync_names)" "$cur"
      fi
      ;;
    policy)
      if [[ $cur == -* ]]; then
        _secrets_sync_words '--store --credentials -c --config -h --help' "$cur"
      fi
      ;;
    convert)
      if [[ $cur == -* ]]; then
        _secrets_sync_words '-o --output --from --output-dir --mount-path --kv-version --strict --query-vault --vault-addr --vault-token --vault-role-id --vault-secret-id -c --config -h --help' "$cur"
      else
        _secrets_sync_files -f "$cur"
      fi
      ;;
    version)
      if [[ $cur == -* ]]; then
        _secrets_sync_words '-c --config -h --help' "$cur"
      fi
      ;;
    '' | help)
      if [[ $cur == -* ]]; then
        _secrets_sync_words '-c --config -V --version -h --help --once --dry-run --timeout' "$cur"
      else
        _secrets_sync_words 'run isready validate init status doctor explain policy convert version help' "$cur"
      fi
      ;;
  esac
}

complete -F _secrets_sync secrets-sync
