#!/usr/bin/env bash
# assemble.sh HOME [VERSION]: fetches the official Elasticsearch jars with Maven and lays them out as a server home.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); . "$here/lib.sh"
[ $# -ge 1 ] || die "usage: assemble.sh HOME [VERSION]   (versions: $(cd "$here" && ls pom-*.xml | tr '\n' ' '))"
target=$1 version=${2:-8.19.21}
[ -f "$here/pom-$version.xml" ] || die "no recipe for version $version"
command -v mvn >/dev/null || die "Maven (mvn) is missing; install it (Debian package: maven)"
least=$(least_java "$version"); jdk=$(find_jdk "$least" javac)

recipe=$(cd "$here" && cat lib.sh assemble.sh "pom-$version.xml" config/* $(find java -type f | sort) | cksum)
stamp="$version $recipe"
[ -f "$target/.assembled" ] && [ "$(cat "$target/.assembled")" = "$stamp" ] && { echo "elasticsearch: $target already holds $version"; exit 0; }
if [ -e "$target" ] && [ ! -f "$target/.assembled" ] && [ -n "$(ls -A "$target" 2>/dev/null)" ]; then
    die "$target exists and is not a home that this script made"
fi

mkdir -p "$(dirname "$target")"; target=$(cd "$(dirname "$target")" && pwd)/$(basename "$target")
work=$(mktemp -d "$target.XXXXXX"); trap 'rm -rf "$work"' EXIT
home=$work/home
mvn -B -ntp -q -f "$here/pom-$version.xml" process-resources -Des.home="$home" ||
    die "Maven could not fetch the jars of $version (see above)"

# Each module's jar carries its own descriptor and entitlement policy.
for dir in "$home"/modules/*/; do
    name=$(basename "$dir")
    (cd "$work" && rm -rf META-INF && "$jdk/bin/jar" -xf "$dir$name-$version.jar" "META-INF/es-plugins/$name")
    cp "$work/META-INF/es-plugins/$name"/* "$dir"
done
# ES|QL also extends two modules that are not published (painless, ml); it runs without them, on top of these.
esql=$home/modules/x-pack-esql/plugin-descriptor.properties
[ ! -f "$esql" ] || sed -i 's/^extended.plugins=.*/extended.plugins=x-pack-esql-core,x-pack-kql/' "$esql"

compile() { local out=$1; shift; "$jdk/bin/javac" -nowarn --release "$least" -cp "$home/lib/*" -d "$out" "$@"; }
pack() { "$jdk/bin/jar" -c -f "$@"; }

# What is not published and is small enough to stand in for: the launcher's writer of server arguments,
# the agent's attach point, the console loader.
mkdir -p "$home/lib/entitlement-agent" "$home/lib/tools/ansi-console" "$home/lib/tools/launch"
compile "$work/boot" $(find "$here/java/boot" -name '*.java')
printf 'Agent-Class: EntitlementAgentShim\nCan-Redefine-Classes: true\nCan-Retransform-Classes: true\n' > "$work/mf"
pack "$home/lib/entitlement-agent/agent.jar" -m "$work/mf" -C "$work/boot" EntitlementAgentShim.class
pack "$home/lib/tools/ansi-console/console.jar" -C "$work/boot" org
pack "$home/lib/tools/launch/launch.jar" -C "$work/boot" EsArgs.class

# SAML (a paid realm) needs OpenSAML, which is not published with them: empty types let the security module load without it.
compile "$work/saml" $(find "$here/java/saml-stubs" -name '*.java')
for module in org.opensaml.core org.opensaml.saml org.opensaml.saml.impl org.opensaml.security org.opensaml.security.impl \
    org.opensaml.xmlsec org.opensaml.xmlsec.impl net.shibboleth.utilities.java.support; do
    printf 'Automatic-Module-Name: %s\n' "$module" > "$work/mf"
    files=(); case $module in *.core) files=(-C "$work/saml" org/opensaml/core) ;; org.opensaml.saml) files=(-C "$work/saml" org/opensaml/saml) ;; esac
    pack "$home/modules/x-pack-security/stub-$module.jar" -m "$work/mf" "${files[@]}"
done

# The banner at "/" and the analysis parts that the security index names.
gap=$home/modules/local-gap; mkdir -p "$gap"
compile "$work/gap" $(find "$here/java/gap" "$here/java/gap-${version%%.*}" -name '*.java')
pack "$gap/local-gap.jar" -C "$work/gap" local
cat > "$gap/plugin-descriptor.properties" <<END
name=local-gap
description=banner and analysis parts that are not published
version=$version
elasticsearch.version=$version
java.version=$least
classname=local.gap.GapPlugin
has.native.controller=false
END

# Optional: native zstd (index.codec best_compression), process limits, system call filter. They need the system's
# libzstd and, since the server also insists on its vector library, one that says "no vector support here".
zstd=$({ ldconfig -p 2>/dev/null || true; } | awk '/libzstd\.so\.1 /{print $NF; exit}')
case $(uname -s)-$(uname -m) in Linux-x86_64) platform=linux-x64 ;; Linux-aarch64) platform=linux-aarch64 ;; *) platform= ;; esac
if [ -n "$zstd" ] && [ -n "$platform" ] && command -v cc >/dev/null; then
    mkdir -p "$home/lib/platform/$platform"
    cp -L "$zstd" "$home/lib/platform/$platform/libzstd.so"
    echo 'int vec_caps(void) { return 0; }' > "$work/vec.c"
    cc -shared -fPIC -o "$home/lib/platform/$platform/libvec.so" "$work/vec.c"
else
    echo "elasticsearch: no C compiler or libzstd: going on without native access (do not use index.codec best_compression)"
fi

mkdir -p "$home/config" "$home/plugins"; cp "$here"/config/* "$home/config/"
echo "$version" > "$home/VERSION"; echo "$stamp" > "$home/.assembled"
chmod -R a+rX "$home"
rm -rf "$target"; mv "$home" "$target"
echo "elasticsearch: assembled $version in $target ($(du -sh "$target" | cut -f1))"
