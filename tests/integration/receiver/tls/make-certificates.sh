#!/bin/sh
# Makes the certificates of the TLS tests anew: an authority, two versions of a server's certificate, a client's,
# and one of a client that nobody knows. They protect nothing.
set -eu
cd "$(dirname "$0")"
days=36500
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days $days -subj "/CN=$1" \
    -keyout "$1.key" -out "$1.pem" 2>/dev/null
}
signed() { # name, authority, extensions
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr" 2>/dev/null
  printf '%s\n' "$3" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days $days -extfile "$1.ext" -out "$1.pem" 2>/dev/null
  rm "$1.csr" "$1.ext"
}
authority authority
authority stranger-authority
names='subjectAltName=DNS:localhost,IP:127.0.0.1'
signed server-1 authority "$names"
signed server-2 authority "$names"
signed client authority 'extendedKeyUsage=clientAuth'
signed stranger stranger-authority 'extendedKeyUsage=clientAuth'
rm -f ./*.srl authority.key stranger-authority.*
