# SPDX-License-Identifier: GPL-2.0-or-later
# The machine that our QEMU knows: a q35 with PCIe ports, a vIOMMU and the virtio devices that the tests use.
# Built with --without-default-devices, so that nothing else takes time. The MICA device itself is linked in later
# by scripts/qemu.sh.
CONFIG_Q35=y
CONFIG_PCIE_PORT=y
CONFIG_IOH3420=y
CONFIG_SERIAL_ISA=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_SERIAL=y
CONFIG_VIRTIO_RNG=y
CONFIG_VIRTIO_9P=y
CONFIG_ISA_DEBUG=y
CONFIG_VTD=y
CONFIG_EDU=y
CONFIG_NVME_PCI=y
# hw/nvme calls it without selecting it.
CONFIG_SPDM_SOCKET=y
