#!/bin/sh
# Run as root on a guest that is to be a dump server: its sshd becomes the segment's alone, with a host key of its own that
# `rotate-host-key` replaces. The lab's way in is a second sshd, which stays as it is whatever happens to the first.
set -e
cd /etc/systemd/network # it is on VLAN 7 and 8 of the segment, too; on the latter it gives addresses away
mkdir -p 70-lan0.network.d
printf '%s\n' '[Network]' VLAN=vlan7 VLAN=vlan8 > 70-lan0.network.d/vlan.conf
printf '%s\n' '[NetDev]' Name=vlan7 Kind=vlan '[VLAN]' Id=7 > 50-vlan7.netdev
printf '%s\n' '[Match]' Name=vlan7 '[Network]' Address=198.51.100.1/24 > 50-vlan7.network
printf '%s\n' '[NetDev]' Name=vlan8 Kind=vlan '[VLAN]' Id=8 > 50-vlan8.netdev
printf '%s\n' '[Match]' Name=vlan8 '[Network]' Address=203.0.113.1/24 DHCPServer=yes > 50-vlan8.network
networkctl reload
cp -p /etc/ssh/ssh_host_ed25519_key /etc/ssh/lab_key
{
    echo 'ListenAddress 10.0.2.15'
    echo 'HostKey /etc/ssh/lab_key'
    echo 'PidFile /run/sshd-lab.pid'
    echo 'Subsystem sftp internal-sftp'
} > /etc/ssh/sshd_lab_config
cat > /etc/systemd/system/sshd-lab.service <<'UNIT'
[Service]
RuntimeDirectory=sshd
RuntimeDirectoryPreserve=yes
ExecStart=/usr/sbin/sshd -D -f /etc/ssh/sshd_lab_config
[Install]
WantedBy=multi-user.target
UNIT
echo net.ipv4.ip_nonlocal_bind=1 > /etc/sysctl.d/lab.conf
echo net.ipv6.ip_nonlocal_bind=1 >> /etc/sysctl.d/lab.conf
sysctl -q -p /etc/sysctl.d/lab.conf
printf 'ListenAddress %s\n' 192.0.2.1 2001:db8::1 198.51.100.1 203.0.113.1 > /etc/ssh/sshd_config.d/segment.conf
cat > /usr/local/sbin/rotate-host-key <<'ROTATE'
#!/bin/sh
set -e
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
systemctl restart ssh.service
ROTATE
chmod 755 /usr/local/sbin/rotate-host-key
systemctl daemon-reload
systemctl disable -q ssh.socket 2> /dev/null || true
rotate-host-key
systemctl enable -q --now sshd-lab.service
