#!/usr/bin/env bash
# start.sh HOME HTTP_PORT DATA_DIR [setting=value ...]: runs the server in the foreground, in this very process (exec),
# on 127.0.0.1. Stop it with a TERM to that process.
# ES_HEAP (1g), ES_JVM_OPTIONS, ES_JAVA_HOME, ES_USER (nobody; used when started as root), ES_BOOTSTRAP_PASSWORD (turns security on).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); . "$here/lib.sh"
[ $# -ge 3 ] || die "usage: start.sh HOME HTTP_PORT DATA_DIR [setting=value ...]"
[ -f "$1/VERSION" ] || die "$1 is not an assembled home; run assemble.sh first"
home=$(cd "$1" && pwd); port=$2; mkdir -p "$3"; data=$(cd "$3" && pwd); shift 3
version=$(cat "$home/VERSION"); jdk=$(find_jdk "$(least_java "$version")" java)

mkdir -p "$data/data" "$data/logs" "$data/tmp" "$data/config"
for file in elasticsearch.yml log4j2.properties; do [ -f "$data/config/$file" ] || cp "$home/config/$file" "$data/config/"; done
settings=(path.data="$data/data" path.logs="$data/logs" http.port="$port")
case " $* " in *" transport.port="*) ;; *) settings+=(transport.port=$((port + 100))) ;; esac
case " $* " in *" node.name="*) ;; *) settings+=(node.name="node-$port") ;; esac
case " $* " in *" discovery."*) ;; *) settings+=(discovery.type=single-node) ;; esac
case " $* " in *" xpack.security.enabled="*) ;; *) settings+=(xpack.security.enabled=$([ -n "${ES_BOOTSTRAP_PASSWORD:-}" ] && echo true || echo false)) ;; esac

args=$data/tmp/server-args
(umask 077; "$jdk/bin/java" -XX:TieredStopAtLevel=1 -cp "$home/lib/*:$home/lib/tools/launch/*" EsArgs "$args" "$home" "$data/config" "$data/server.pid" "${settings[@]}" "$@") ||
    die "the settings were refused (see above)"
exec < "$args"; rm -f "$args"

as=()
if [ "$(id -u)" = 0 ]; then
    user=${ES_USER:-nobody}
    command -v setpriv >/dev/null || die "the server refuses to run as root and setpriv (util-linux) is missing"
    as=(setpriv --reuid="$(id -u "$user")" --regid="$(id -g "$user")" --clear-groups)
    chown -R "$(id -u "$user"):$(id -g "$user")" "$data"
    "${as[@]}" test -r "$home/VERSION" || die "user $user cannot read $home: put it under folders that others may enter"
    "${as[@]}" test -w "$data/data" || die "user $user cannot write $data: put it under folders that others may enter"
fi
native=org.elasticsearch.nativeaccess,org.apache.lucene.core; case $version in 8.*) ;; *) native=$native,org.elasticsearch.foreign ;; esac
[ "$(java_feature "$jdk/bin/java")" -ge 21 ] && natives=(--enable-native-access="$native") || natives=()
unset ES_BOOTSTRAP_PASSWORD; export LIBFFI_TMPDIR=$data/tmp
cd "$data"
exec "${as[@]}" "$jdk/bin/java" -Xms"${ES_HEAP:-1g}" -Xmx"${ES_HEAP:-1g}" @"$home/config/jvm.options" ${ES_JVM_OPTIONS:-} "${natives[@]}" \
    -Djava.io.tmpdir="$data/tmp" -Duser.home="$data/tmp" -Des.path.home="$home" \
    --patch-module=java.base="$(echo "$home"/lib/entitlement-bridge/*.jar)" --module-path "$home/lib" \
    -m org.elasticsearch.server/org.elasticsearch.bootstrap.Elasticsearch
