pid_file = "./p"
vault { address = "https://vault.example.com:8200"
 retry { num_retries = 5 } }
auto_auth {
  method "approle" {
    mount_path = "auth/approle2"
    config = { role_id_file_path = "/r", secret_id_file_path = "/s" }
  }
  sink "file" { config = { path = "/tok" } }
}
template {
  contents = <<EOT
{{- with secret "secret/data/app/db" -}}
user={{ .Data.data.user }}
{{ end }}
EOT
  destination = "/run/app/db.env"
  perms = 0640
  user = "0"
  command = "systemctl reload app"
}
template { contents = "{{ with secret \"pki/issue/x\" \"cn=a\" }}{{ .Data.cert }}{{ end }}" destination = "/x/y" }
template { source = "/nonexistent.tpl" destination = "/x/z" }
listener "tcp" { address = "127.0.0.1:8100" }
