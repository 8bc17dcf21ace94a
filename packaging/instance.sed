# Makes reelway@.service of reelway.service: the same sandbox, with a socket, directories and variables of its own.
1s/.*/# One of several on this machine, made of reelway.service: see reelway@.socket. Change all with `systemctl edit reelway@`./
s/^Description=.*/&, instance %i/
s/^Sockets=.*/Sockets=reelway@%i.socket/
s/^\(StateDirectory\|CacheDirectory\|RuntimeDirectory\)=reelway$/&-%i/
s/^EnvironmentFile=.*/&\nEnvironmentFile=-\/etc\/default\/reelway-%i/
s/system\.slice\/%n/system.slice\/system-reelway.slice\/%n/
s/^Also=.*/Also=reelway@%i.socket/
