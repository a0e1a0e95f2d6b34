//! The image without root: podman as an ordinary user, and to whom the files then belong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod podman;
mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use podman::{IMAGE, Podman};
use serde_json::json;
use support::OpenBao;

/// An ordinary user, known in this mount namespace only, runs the image three times. Arguments: the
/// directory of this test.
const SCRIPT: &str = r#"
set -eu
dir=$1
for file in passwd group subuid subgid; do cp "/etc/$file" "$dir/$file"; done
echo "sidecar:x:30000:30000::$dir/home:/bin/sh" >>"$dir/passwd"
echo 'sidecar:x:30000:' >>"$dir/group"
echo 'sidecar:700000:65536' | tee "$dir/subuid" >"$dir/subgid"
for file in passwd group subuid subgid; do mount --bind "$dir/$file" "/etc/$file"; done
install -d -m 0700 -o 30000 -g 30000 "$dir/home" "$dir/runtime"
cat >"$dir/run.sh" <<'END'
set -eu
cd "$HOME"
podman load -q -i "$DIR/image.tar"
finish() {
  podman rm -f -a -v -t 1 >/dev/null 2>&1
  podman unshare rm -rf "$HOME/.local"
  # The process that holds the user's namespaces would stay for ever.
  kill -KILL "$(cat "$XDG_RUNTIME_DIR/libpod/tmp/pause.pid")" 2>/dev/null || true
}
trap finish EXIT
# run NAME OPTIONS…
run() {
  name=$1
  shift
  mkdir -m 0755 "$DIR/out/$name"
  podman run -d --name "$name" --network=host --read-only --cap-drop=all \
    --security-opt=no-new-privileges -e METRICS_PORT=0 -v "$DIR/config:/etc/secrets-sync:ro" "$@" \
    "$IMAGE"
  n=0
  until podman healthcheck run "$name"; do
    n=$((n + 1))
    [ "$n" -lt 100 ] || { podman logs "$name"; exit 1; }
    sleep 0.2
  done
  podman rm -f -t 5 "$name"
}
run nobody -v "$DIR/out/nobody:/secrets:U"
run root --user=0:0 -v "$DIR/out/root:/secrets"
run kept --userns=keep-id --user=30000:30000 -v "$DIR/out/kept:/secrets"
END
exec setpriv --reuid=30000 --regid=30000 --clear-groups \
  env HOME="$dir/home" USER=sidecar XDG_RUNTIME_DIR="$dir/runtime" DIR="$dir" bash "$dir/run.sh"
"#;

#[test]
fn an_ordinary_user_runs_it_and_the_files_belong_to_whom_the_guide_says() {
    let podman = match Podman::shared() {
        Ok(podman) => podman,
        Err(why) => skip!("{why}"),
    };
    if !["/etc/subuid", "/etc/subgid"]
        .iter()
        .all(|file| fs::exists(file).unwrap())
    {
        skip!("needs /etc/subuid and /etc/subgid (Debian: uidmap)");
    }
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({ "x": "value" }));
    let dir = podman.dir("rootless");
    for name in ["out", "config"] {
        fs::create_dir(dir.join(name)).unwrap();
    }
    std::os::unix::fs::chown(dir.join("out"), Some(30000), Some(30000)).unwrap();
    let config = format!(
        "secretStore: {{ address: '{}', authMethod: token, token: root, mountPath: {mount} }}\n\
         secrets: [{{ name: a, key: a, files: [{{ path: /secrets/a, field: x }}] }}]\n",
        bao.address()
    );
    fs::write(dir.join("config/config.yaml"), config).unwrap();
    let image = dir.join("image.tar");
    podman.ok(&["save", "-q", "-o", image.to_str().unwrap(), IMAGE]);
    fs::set_permissions(&image, fs::Permissions::from_mode(0o644)).unwrap();

    // The same settings of the engine, but storage of the user's own, by podman's defaults.
    let settings = fs::read_to_string(podman.settings()).unwrap();
    let settings: String = settings
        .lines()
        .filter(|line| !line.contains('/'))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(dir.join("containers.conf"), settings).unwrap();
    let mut run = podman.command("unshare");
    run.args([
        "--mount",
        "--propagation=private",
        "bash",
        "-c",
        SCRIPT,
        "bash",
    ])
    .arg(&dir)
    .env("CONTAINERS_CONF", dir.join("containers.conf"))
    .env("PATH", std::env::var_os("PATH").unwrap())
    .env("IMAGE", IMAGE);
    let said = podman::run(run);
    if said.code != 0 && said.stderr.contains("newuidmap") {
        skip!("this machine does not map users: {}", said.stderr);
    }
    said.expect_success("the image as an ordinary user");

    let owner = |name: &str| {
        let file = dir.join("out").join(name).join("a");
        assert_eq!(fs::read(&file).unwrap(), b"value", "{name}");
        let meta = fs::metadata(&file).unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o7777)
    };
    // 65534 inside is the 65534th of the user's subordinate ids, root inside is the user.
    assert_eq!(owner("nobody"), (765_533, 765_533, 0o600));
    assert_eq!(owner("root"), (30000, 30000, 0o600));
    assert_eq!(owner("kept"), (30000, 30000, 0o600));
}
