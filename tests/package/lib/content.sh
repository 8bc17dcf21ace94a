# Sourced where an image is made. Machines are offline: what the packages depend on (acl) and what is used in them must be there.
# shellcheck shell=bash disable=SC2034

# What the scenarios use.
SCENARIO_CONTENT="acl avahi-daemon avahi-utils bash-completion ffmpeg fish haproxy iptables jq libnss-mdns man-db nginx-light polkitd
    psmisc rpmlint util-linux-extra zsh"

# What the end-to-end suite uses beside that: players, and a compiler for what is preloaded into the daemon.
SUITE_CONTENT="build-essential chromium gir1.2-gstreamer-1.0 gstreamer1.0-libav gstreamer1.0-plugins-base gstreamer1.0-plugins-good mpv
    python3-gi vlc-bin vlc-plugin-base wget"
