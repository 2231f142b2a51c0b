// SPDX-License-Identifier: MIT
/* Finds device nodes of the mica driver, and out why there is none. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xf86drm.h>
#include "drm_backend.h"
#include "mica/regs.h"

#define MAX_NODES 64

/* The descriptor if the node's driver is ours; -EMEDIUMTYPE if it is another's; -errno. */
static int open_node(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	drmVersionPtr v;
	int ret;

	if (fd < 0)
		return -errno;
	v = drmGetVersion(fd);
	if (v && v->name && !strcmp(v->name, MICA_DRIVER_NAME))
		ret = fd;
	else
		ret = -EMEDIUMTYPE;
	drmFreeVersion(v);
	if (ret < 0)
		close(fd);
	return ret;
}

unsigned mica_device_list(struct mica_device_node *list, unsigned max)
{
	struct mica_device_node node;
	unsigned count = 0;

	for (unsigned i = 0; i < MAX_NODES; i++) {
		int fd;

		snprintf(node.path, sizeof(node.path), "/dev/accel/accel%u", i);
		fd = open_node(node.path);
		if (fd < 0)
			continue;
		close(fd);
		if (count < max)
			list[count] = node;
		count++;
	}
	return count;
}

static bool sysfs_is(const char *slot, const char *attr, unsigned want)
{
	char path[512], text[32];
	FILE *f;
	bool same;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", slot, attr);
	f = fopen(path, "re");
	if (!f)
		return false;
	same = fgets(text, sizeof(text), f) && strtoul(text, NULL, 16) == want;
	fclose(f);
	return same;
}

/* The slot name of a MICA PCI function, if there is one. */
static bool find_pci(char *slot, size_t size)
{
	DIR *dir = opendir("/sys/bus/pci/devices");
	bool found = false;
	struct dirent *e;

	if (!dir)
		return false;
	while (!found && (e = readdir(dir))) {
		found = e->d_name[0] != '.' && sysfs_is(e->d_name, "vendor", MICA_PCI_VENDOR_ID) &&
			sysfs_is(e->d_name, "device", MICA_PCI_DEVICE_ID);
		if (found)
			snprintf(slot, size, "%.63s", e->d_name);
	}
	closedir(dir);
	return found;
}

static int explain_no_device(void)
{
	char slot[64], path[256];

	if (!find_pci(slot, sizeof(slot)))
		return sdk_err(ENODEV, "no MICA device on the PCI bus; run on the CPU with --backend=cpu");
	if (access("/sys/module/mica", F_OK))
		return sdk_err(ENODEV, "the MICA device %s has no driver: load it with 'modprobe mica'", slot);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", slot);
	if (!access(path, F_OK))
		return sdk_err(ENODEV, "the driver runs the MICA device %s, but there is no /dev/accel/accel* for it that this process sees",
			       slot);
	return drm_explain_firmware(slot);
}

static int explain_open(const char *path, int err)
{
	switch (err) {
	case EMEDIUMTYPE:
		return sdk_err(ENODEV, "%s: is not a MICA device (another driver's)", path);
	case EACCES:
	case EPERM:
		return sdk_err(EACCES, "%s: no permission; add yourself to the node's group (render)", path);
	default:
		return sdk_err(err == ENOENT ? ENODEV : err, "%s: cannot open: %s", path, strerror(err));
	}
}

int drm_find_open(const struct mica_device_options *o, char *path, size_t path_size)
{
	unsigned seen = 0;
	char denied[32] = "";
	int fd;

	if (o->path) {
		snprintf(path, path_size, "%s", o->path);
		fd = open_node(path);
		return fd >= 0 ? fd : explain_open(path, -fd);
	}
	for (unsigned i = 0; i < MAX_NODES; i++) {
		snprintf(path, path_size, "/dev/accel/accel%u", i);
		fd = open_node(path);
		if (fd == -EACCES || fd == -EPERM)
			snprintf(denied, sizeof(denied), "/dev/accel/accel%u", i);
		if (fd < 0)
			continue;
		if (seen++ == o->index)
			return fd;
		close(fd);
	}
	if (denied[0])
		return explain_open(denied, EACCES);
	if (seen)
		return sdk_err(ENODEV, "there are %u MICA devices, number %u is not among them (they count from 0)", seen, o->index);
	return explain_no_device();
}
