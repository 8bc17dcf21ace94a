# Makes the README of an installed reelway of README.md: what there is to know from then on, with the places of its files there.
3s/^/\nHere is what there is to know once it is installed. `man reelway` and `man reelway.toml` are the reference.\n/
4,/^## A film on the TV/{
    /^## A film on the TV/!d
}
/^## What a byte costs/,$d
s|(packaging/nginx/|(examples/nginx/|
s|(packaging/haproxy/|(examples/haproxy/|
s|\[conf/reelway.toml\](conf/reelway.toml)|`/etc/reelway/reelway.toml`|
