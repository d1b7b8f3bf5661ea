#!/bin/sh
# Run as root on a guest that is to be a dump server: its sshd becomes the segment's alone, with a host key of its own that
# `rotate-host-key` replaces. The lab's way in is a second sshd, which stays as it is whatever happens to the first.
set -e
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
printf 'ListenAddress 192.0.2.1\nListenAddress 2001:db8::1\n' > /etc/ssh/sshd_config.d/segment.conf
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
