# Sourced by the scenario doctor, after guest.sh: misconfigurations of an installed service, each with what `reelway doctor` must
# find, and how it is taken out again. `check_plants` tries them all.
#
# A plant NAME is plant_NAME, which breaks one thing; mend_NAME, which mends that and nothing else; and its line in PLANTS: what
# must be found, as LEVEL:ID. It must be found once it is planted, and no problem may be left once it is mended. The machine is as
# `reelway_here` leaves it: installed, the service running, a library in /srv/films, an administrator.
# shellcheck shell=bash
STATE=/var/lib/reelway
DROP_INS=/etc/systemd/system/reelway.service.d
SOCKET_DROP_INS=/etc/systemd/system/reelway.socket.d

PLANTS='
unknown_key            problem:config.invalid
bad_drop_in            problem:config.invalid
port_in_environment    note:config.variable
port_elsewhere         note:config.socket
masked                 problem:service.masked
socket_stopped         problem:service.socket
socket_disabled        problem:service.disabled
service_failed         problem:service.failed
daemon_reload          problem:service.reload
store_lowered          problem:service.handover
port_taken             problem:service.port
foreign_lock           problem:service.lock
program_replaced       problem:service.version
admin_socket_gone      problem:service.admin
daemon_stopped         problem:service.silent
state_of_root          note:state.owner
state_open             problem:state.mode
file_of_root           problem:state.files
key_open               problem:state.secrets
key_short              problem:state.key
credential_short       problem:state.key
database_damaged       problem:state.database
database_newer         problem:state.database
restore_cut_off        problem:state.restore
state_full             problem:state.full
no_admin               note:state.admin
root_missing           problem:library.missing
root_unmounted         problem:library.mount
root_unreadable        problem:library.access
root_in_home           problem:library.sandbox
root_without_films     problem:library.formats
root_empty             note:library.empty
roots_nested           problem:library.twice
roots_none             problem:library.none
few_files              problem:limits.files
little_memory          problem:limits.memory
ring_forbidden         note:kernel.ring
congestion             note:kernel.congestion
only_this_machine      note:network.local
own_ipv6_prefix        note:network.filter
no_network_allowed     problem:network.filter
clock_behind           problem:clock.behind
avahi_stopped          problem:names.stopped
other_port_announced   problem:names.port
awake_stopped          problem:awake.socket
'

# check_plants : all of them, one after the other. Where what a plant needs is not on this machine its needs_NAME says so.
check_plants() {
    local name expected
    while read -r name expected; do
        [ -n "$name" ] || continue
        if declare -F "needs_$name" >/dev/null && ! "needs_$name" >/dev/null 2>&1; then
            echo "left out: $name, for want of what it needs here"
            continue
        fi
        "plant_$name" >/run/plant.log 2>&1 || cat /run/plant.log
        check "the doctor finds $name" finds "${expected%%:*}" "${expected#*:}"
        "mend_$name" >/run/plant.log 2>&1 || cat /run/plant.log
        check "and finds no problem once $name is mended" is_healthy
    done <<<"$PLANTS"
}

# finds LEVEL ID : the doctor's answer has such a finding, its exit code agrees, and a problem says what to do.
finds() {
    local code=0 told
    told=$(reelway doctor --json 2>/dev/null) || code=$?
    jq -e --arg level "$1" --arg id "$2" --argjson code "$code" '
        (.findings | any(.level == $level and .id == $id)) and
        (.findings | all(.level != "problem" or (.fix // "") != "")) and
        ((.findings | any(.level == "problem")) == ($code == 1))' <<<"$told" >/dev/null ||
        { jq -c '.findings[] | select(.level != "ok")' <<<"$told"; return 1; }
}
is_healthy() { within 20 reelway doctor --json >/run/doctor.json || { jq -c '.findings[] | select(.level == "problem")' /run/doctor.json; return 1; }; }

# ---- what plants are made of ----

service_line() { mkdir -p "$DROP_INS"; printf '[Service]\n%s\n' "$@" >"$DROP_INS/plant.conf"; systemctl daemon-reload; }
no_service_line() { rm -f "$DROP_INS/plant.conf"; systemctl daemon-reload; back_up_again; }
socket_line() {
    mkdir -p "$SOCKET_DROP_INS"
    printf '[Socket]\n%s\n' "$@" >"$SOCKET_DROP_INS/plant.conf"
    systemctl daemon-reload
    systemctl stop reelway.service
    systemctl restart reelway.socket
}
no_socket_line() {
    rm -f "$SOCKET_DROP_INS/plant.conf"
    systemctl daemon-reload
    systemctl stop reelway.service
    systemctl restart reelway.socket
    back_up_again
}
stop_it() { systemctl stop reelway.socket reelway.service; }
# Whatever it went through, it runs again.
back_up_again() {
    systemctl reset-failed reelway.service reelway.socket
    systemctl start reelway.socket
    systemctl restart reelway.service
    within 30 is_ready
}
roots() { configure zz-plant <<<"library.roots = [$1]"; }
no_roots() { rm -f /etc/reelway/conf.d/zz-plant.toml; }
sql() { python3 -c 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit(); c.close()' "$STATE/reelway.db" "$1"; chown reelway: "$STATE"/*; }

# ---- configuration ----

plant_unknown_key() { cp -p /etc/reelway/reelway.toml /run/kept.toml; printf '\n[server]\nprot = 80\n' >/etc/reelway/reelway.toml; }
mend_unknown_key() { cp -p /run/kept.toml /etc/reelway/reelway.toml; }
plant_bad_drop_in() { configure zz-plant <<<'video.max_concurrent_streams = "many"'; }
mend_bad_drop_in() { no_roots; }
plant_port_in_environment() { cp -p /etc/default/reelway /run/kept.default; echo 'MAX_CONCURRENT_STREAMS=5' >>/etc/default/reelway; }
mend_port_in_environment() { if [ -f /run/kept.default ]; then cp -p /run/kept.default /etc/default/reelway; else rm -f /etc/default/reelway; fi; }

# ---- the service ----

plant_masked() { stop_it; systemctl mask --runtime reelway.service; }
mend_masked() { systemctl unmask --runtime reelway.service; back_up_again; }
plant_socket_stopped() { stop_it; }
mend_socket_stopped() { back_up_again; }
plant_socket_disabled() { systemctl disable reelway.socket; }
mend_socket_disabled() { systemctl enable reelway.socket; }
plant_service_failed() { service_line ExecStart= 'ExecStart=/bin/false'; systemctl restart reelway.service; }
mend_service_failed() { no_service_line; }
plant_daemon_reload() { mkdir -p "$DROP_INS"; echo '[Service]' >"$DROP_INS/plant.conf"; }
mend_daemon_reload() { rm "$DROP_INS/plant.conf"; systemctl daemon-reload; }
plant_store_lowered() { service_line FileDescriptorStoreMax=16; }
mend_store_lowered() { no_service_line; }
plant_port_taken() {
    stop_it
    python3 -c 'import socket, signal; s = socket.create_server(("127.0.0.1", 3000)); open("/run/stranger", "w").close(); signal.pause()' &
    STRANGER=$!
    within 10 test -e /run/stranger
}
mend_port_taken() { kill "$STRANGER"; wait "$STRANGER"; rm /run/stranger; back_up_again; }
plant_foreign_lock() {
    stop_it
    setpriv --reuid reelway --regid reelway --clear-groups flock "$STATE/lock" sleep 600 &
    STRANGER=$!
    within 10 not flock -n "$STATE/lock" true
}
mend_foreign_lock() { pkill -P "$STRANGER"; kill "$STRANGER"; wait "$STRANGER"; back_up_again; }
plant_program_replaced() { cp -p /usr/bin/reelway /usr/bin/reelway.new; mv /usr/bin/reelway.new /usr/bin/reelway; }
mend_program_replaced() { back_up_again; }
plant_admin_socket_gone() { rm /run/reelway/admin.sock; }
mend_admin_socket_gone() { back_up_again; }
plant_daemon_stopped() { kill -STOP "$(main_pid)"; }
mend_daemon_stopped() { kill -CONT "$(main_pid)"; back_up_again; }

# ---- the state ----

plant_state_of_root() { stop_it; chown root:root "$STATE"; }
mend_state_of_root() { chown reelway: "$STATE"; back_up_again; }
plant_state_open() { chmod 755 "$STATE"; }
mend_state_open() { chmod 700 "$STATE"; }
plant_file_of_root() { touch "$STATE/forgotten"; }
mend_file_of_root() { rm "$STATE/forgotten"; }
plant_key_open() { chmod 644 "$STATE/jwt.key"; }
mend_key_open() { chmod 600 "$STATE/jwt.key"; }
plant_key_short() { cp -p "$STATE/jwt.key" /run/kept.key; printf short >"$STATE/jwt.key"; }
mend_key_short() { cp -p /run/kept.key "$STATE/jwt.key"; }
plant_credential_short() { mkdir -p /etc/credstore; printf short >/etc/credstore/reelway.jwt-key; }
mend_credential_short() { rm /etc/credstore/reelway.jwt-key; }
plant_database_damaged() { stop_it; cp -p "$STATE/reelway.db" /run/kept.db; dd if=/dev/urandom of="$STATE/reelway.db" bs=4096 count=4 conv=notrunc; }
mend_database_damaged() { rm -f "$STATE"/reelway.db-*; cp -p /run/kept.db "$STATE/reelway.db"; back_up_again; }
plant_database_newer() { stop_it; cp -p "$STATE/reelway.db" /run/kept.db; sql 'PRAGMA user_version = 99'; }
mend_database_newer() { mend_database_damaged; }
plant_restore_cut_off() { install -m 600 -o reelway -g reelway /dev/null "$STATE/reelway.db.restoring"; }
mend_restore_cut_off() { rm "$STATE/reelway.db.restoring"; }
plant_state_full() {
    stop_it
    mkdir -p /run/kept.state && cp -a "$STATE/." /run/kept.state
    mount -t tmpfs -o "size=4m,mode=0700,uid=$(id -u reelway),gid=$(id -g reelway)" none "$STATE"
    cp -a /run/kept.state/. "$STATE"
}
mend_state_full() { umount "$STATE"; rm -r /run/kept.state; back_up_again; }
plant_no_admin() { stop_it; sql "UPDATE users SET is_active = 0 WHERE role = 'admin'"; }
mend_no_admin() { sql "UPDATE users SET is_active = 1 WHERE role = 'admin'"; back_up_again; }

# ---- the library ----

plant_root_missing() { roots '{ name = "films", path = "/srv/filmz" }'; }
mend_root_missing() { no_roots; }
plant_root_unmounted() {
    mkdir -p /mnt/films
    cp -p /etc/fstab /run/kept.fstab 2>/dev/null || :
    echo '/dev/disk/by-label/films /mnt/films ext4 nofail 0 0' >>/etc/fstab
    roots '{ name = "films", path = "/mnt/films" }'
}
mend_root_unmounted() { if [ -f /run/kept.fstab ]; then cp -p /run/kept.fstab /etc/fstab; else rm /etc/fstab; fi; no_roots; }
plant_root_unreadable() { mkdir -p /srv/private/films; touch /srv/private/films/a.mp4; chmod 700 /srv/private; roots '{ name = "films", path = "/srv/private/films" }'; }
mend_root_unreadable() { rm -r /srv/private; no_roots; }
plant_root_in_home() { mkdir -p /home/ann/Videos; touch /home/ann/Videos/a.mp4; roots '{ name = "films", path = "/home/ann/Videos" }'; }
mend_root_in_home() { rm -r /home/ann; no_roots; }
plant_root_without_films() { mkdir -p /srv/papers; touch /srv/papers/a.txt; roots '{ name = "films", path = "/srv/papers" }'; }
mend_root_without_films() { rm -r /srv/papers; no_roots; }
plant_root_empty() { mkdir -p /srv/empty; roots '{ name = "empty", path = "/srv/empty" }'; }
mend_root_empty() { rmdir /srv/empty; no_roots; }
plant_roots_nested() { mkdir -p /srv/films/new; roots '{ name = "films", path = "/srv/films" }, { name = "new", path = "/srv/films/new" }'; }
mend_roots_nested() { rmdir /srv/films/new; no_roots; }
plant_roots_none() { roots ''; }
mend_roots_none() { no_roots; }

# ---- limits and kernel ----

plant_few_files() { service_line LimitNOFILE=1024; }
mend_few_files() { no_service_line; }
plant_little_memory() { service_line MemoryMax=32M; }
mend_little_memory() { no_service_line; }
plant_ring_forbidden() { service_line 'SystemCallFilter=~io_uring_setup'; systemctl stop reelway.service; }
mend_ring_forbidden() { no_service_line; }
plant_congestion() { configure zz-plant <<<'net.congestion_control = "nowhere"'; }
mend_congestion() { no_roots; }

# ---- network, clock, names, sleep ----

plant_only_this_machine() { socket_line ListenStream= ListenStream=127.0.0.1:3000; }
mend_only_this_machine() { no_socket_line; }
# systemd holds the socket, so what the configuration says of the port is passed over.
plant_port_elsewhere() { configure zz-plant <<<'server.port = 8080'; }
mend_port_elsewhere() { no_roots; }
needs_own_ipv6_prefix() { ip link add plant0 type dummy && ip link delete plant0; }
plant_own_ipv6_prefix() {
    ip link add plant0 type dummy
    ip link set plant0 up
    ip address add 192.168.77.9/24 dev plant0
    ip address add 2001:db8:77::9/64 dev plant0 nodad
}
mend_own_ipv6_prefix() { ip link delete plant0; }
needs_no_network_allowed() { needs_own_ipv6_prefix; }
plant_no_network_allowed() { plant_own_ipv6_prefix; socket_line IPAddressAllow= IPAddressAllow=localhost; }
mend_no_network_allowed() { mend_own_ipv6_prefix; no_socket_line; }
# As if the machine had come up without its battery: the database was written tomorrow.
plant_clock_behind() { stop_it; touch -d tomorrow "$STATE/reelway.db"; }
mend_clock_behind() { touch "$STATE/reelway.db"; back_up_again; }
needs_avahi_stopped() { systemctl is-active avahi-daemon.service; }
plant_avahi_stopped() { systemctl stop avahi-daemon.socket avahi-daemon.service; }
mend_avahi_stopped() { systemctl start avahi-daemon.socket avahi-daemon.service; }
needs_other_port_announced() { systemctl is-active avahi-daemon.service && test -e /etc/avahi/services/reelway.service; }
plant_other_port_announced() { cp -p /etc/avahi/services/reelway.service /run/kept.avahi; sed -i 's/3000/8080/' /etc/avahi/services/reelway.service; }
mend_other_port_announced() { cp -p /run/kept.avahi /etc/avahi/services/reelway.service; }
needs_awake_stopped() { systemctl is-active reelway-awake.socket; }
plant_awake_stopped() { systemctl stop reelway-awake.socket; }
mend_awake_stopped() { systemctl start reelway-awake.socket; }
