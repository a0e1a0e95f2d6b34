# consul-template
vault {
  address = "https://vault.example.com:8200"
  token   = "hvs.never-to-be-seen"
  namespace = "team-a"
  renew_token = false
  ssl {
    enabled = true
    verify  = false
    ca_cert = "/etc/ssl/ca.pem"
  }
}
consul { address = "127.0.0.1:8500" }
template {
  contents    = "{{ with secret \"secret/app\" }}{{ range $k, $v := .Data.data }}{{ $k }}={{ $v }}\n{{ end }}{{ end }}"
  destination = "/run/app/env"
  perms       = "0600"
  exec { command = ["systemctl", "reload", "app"] }
}
template {
  contents    = "{{ with secret \"kv1/a\" }}{{ .Data.x | toUpper }}{{ end }}{{ with secret \"kv1/b\" }}{{ .Data.y | base64Decode }}{{ end }}"
  destination = "/run/app/two"
  user        = "nobody-here-has-this-name"
  perms       = 0755
}
template {
  contents    = "{{ key \"service/config\" }}"
  destination = "/run/app/consul"
}
template {
  contents    = "{{ with secret \"database/creds/app\" }}{{ .Data.password }}{{ end }}"
  destination = "/run/app/db"
}
