# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
import json

import pytest

import image_host
from ansible_collections.vmcore.kdump.plugins.module_utils._host.commands import Result
from ansible_collections.vmcore.kdump.plugins.module_utils._host.host import Host, Kernel
from ansible_collections.vmcore.kdump.plugins.module_utils.image import network

CARD = image_host.PCI + "/0000:00:03.0/virtio0"


class Net(image_host.Machine):
    """A machine with network devices: what `ip -j` prints of them, and their place in sysfs."""

    def __init__(self, root):
        super().__init__(root)
        self.host = Host(str(root), self.run, Kernel(image_host.RELEASE, "x86_64"))
        self.answers = {}
        self.write("/usr/sbin/ip", image_host.elf(), 0o755)

    def run(self, argv, **options):
        if argv[:2] != ["ip", "-j"]:
            return super().run(argv, **options)
        answer = self.answers.get(" ".join(argv[2:]))
        if answer is None:
            return Result(argv, 2, "", "RTNETLINK answers: Network is unreachable\n")
        return Result(argv, 0, json.dumps(answer), "")

    def link(self, path, target):
        super().link(path, target)

    def card(self, name="eth0", mac="52:54:00:12:34:56", device=CARD, driver="virtio_net"):
        self.driver(device, driver)
        self.mkdir(device + "/net/" + name)
        self.link("/sys/class/net/" + name, device + "/net/" + name)
        self.link(device + "/net/%s/device" % name, device)
        self.answers["-d link show dev " + name] = [
            {"ifname": name, "mtu": 1500, "link_type": "ether", "address": mac}
        ]

    def inet(self, device, *addresses):
        items = []
        for address in addresses:
            local, prefix = address.split("/")
            family = "inet6" if ":" in local else "inet"
            items.append({"family": family, "local": local, "prefixlen": int(prefix), "scope": "global"})
        self.answers["addr show dev " + device] = [{"ifname": device, "addr_info": items}]

    def way(self, address, device, source, **more):
        route = dict({"dst": address, "dev": device, "prefsrc": source, "flags": []}, **more)
        self.answers["route get " + address] = [route]
        self.answers["route get %s from %s" % (address, source)] = [route]


@pytest.fixture
def net(tmp_path):
    return Net(tmp_path)


def test_a_card(net):
    net.card()
    net.inet("eth0", "192.0.2.5/24")
    net.way("198.51.100.7", "eth0", "192.0.2.5", gateway="192.0.2.1")
    found = network.observe(net.host, ["198.51.100.7"], False)
    assert found.address == "198.51.100.7" and found.host_address == "192.0.2.5"
    assert found.text.split("\n") == [
        "nic eth0 mac 52:54:00:12:34:56 -", "up eth0 1500", "link eth0", "address eth0 192.0.2.5/24",
        "route eth0 198.51.100.7 192.0.2.1 192.0.2.5 -", "named 192.0.2.5", "",
    ]  # fmt: skip
    assert found.modules[0] == "virtio_net"
