package bpf

import (
	"slices"

	"golang.org/x/sys/unix"
)

// userfaultfdNew is USERFAULTFD_IOC_NEW of /dev/userfaultfd, linux/userfaultfd.h.
const userfaultfdNew = 0xaa00

// writeIoctl: ioctl(2), whose command is an unsigned int. Refused are
//   - input for another process by a terminal that both have: TIOCSTI, TIOCLINUX, a
//     line discipline, the console; and, as if the terminal were no Linux console, its
//     commands, by which keys can be made to type what one likes;
//   - the set-up of the network, which takes no more than a socket and CAP_NET_ADMIN;
//   - another userfaultfd(2);
//   - what changes a file whose descriptor is open for reading only, and so perhaps outside
//     of what may be written to: its flags, chattr(1), and its encryption and verity, as by a
//     file system that has none.
//
// Devices are Landlock's where they are opened inside (LANDLOCK_ACCESS_FS_IOCTL_DEV).
// Left open, since job control and script(1) need it: TIOCSPGRP, which reaches no
// farther than the session, and TIOCSCTTY, which takes the terminal of another session
// from it only with CAP_SYS_ADMIN. The warden drops both capabilities.
func writeIoctl(c *compiler, pass label) {
	refuse, noTerminal := c.errno(unix.EPERM), c.errno(unix.ENOTTY)
	intervals := make([]interval, len(fileCommands))
	for i, command := range fileCommands {
		intervals[i] = single(command, c.errno(unix.EOPNOTSUPP))
	}
	c.load(low(1))
	c.branch(pass, append(append(intervals, c.socketCommands(pass)...),
		single(unix.TIOCSTI, refuse),
		single(unix.TIOCLINUX, refuse),
		single(unix.TIOCCONS, refuse),
		single(unix.TIOCSETD, refuse),
		single(unix.TIOCVHANGUP, refuse),
		interval{0x4b00, 0x4bff, noTerminal}, // linux/kd.h
		interval{0x5600, 0x56ff, noTerminal}, // linux/vt.h
		single(userfaultfdNew, refuse),
	)...)
}

// fileCommands are of linux/fs.h, linux/fscrypt.h, linux/fsverity.h and of file systems.
var fileCommands = []uint32{
	0x40086602, 0x40046602, // FS_IOC_SETFLAGS, of 64 and 32 bits
	0x40087602, 0x40047602, // FS_IOC_SETVERSION
	0x401c5820,             // FS_IOC_FSSETXATTR
	0x41009432,             // FS_IOC_SETFSLABEL
	0x800c6613, 0xc0506617, // FS_IOC_SET_ENCRYPTION_POLICY, FS_IOC_ADD_ENCRYPTION_KEY
	0xc0406618, 0xc0406619, // FS_IOC_REMOVE_ENCRYPTION_KEY, … for all users
	0x40806685, // FS_IOC_ENABLE_VERITY
	0x40086604, // EXT4_IOC_SETVERSION
	0x40047211, // FAT_IOCTL_SET_ATTRIBUTES
	// Of linux/btrfs.h, which make and remove by a directory that is open for reading, unseen by
	// Landlock: BTRFS_IOC_SNAP_CREATE, SUBVOL_CREATE, SNAP_DESTROY, and the second form of each;
	// BTRFS_IOC_SUBVOL_SETFLAGS, SET_RECEIVED_SUBVOL.
	0x50009401, 0x5000940e, 0x5000940f, 0x50009417, 0x50009418, 0x5000943f, 0x4008941a, 0xc0c89425,
}

// socketReads are commands of linux/sockios.h that read, or that concern the caller
// alone. The names are those of x/sys/unix where it has them.
var socketReads = []uint32{
	0x8901, unix.SIOCSPGRP, 0x8903, unix.SIOCGPGRP, // FIOSETOWN, FIOGETOWN; as fcntl(2) F_SETOWN
	unix.SIOCATMARK, 0x8906, 0x8907, // SIOCGSTAMP, SIOCGSTAMPNS
	unix.SIOCGIFNAME, unix.SIOCGIFCONF, unix.SIOCGIFFLAGS, unix.SIOCGIFADDR, unix.SIOCGIFDSTADDR,
	unix.SIOCGIFBRDADDR, unix.SIOCGIFNETMASK, unix.SIOCGIFMETRIC, unix.SIOCGIFMTU, unix.SIOCGIFHWADDR,
	unix.SIOCGIFINDEX, unix.SIOCGIFCOUNT, unix.SIOCGIFTXQLEN, unix.SIOCOUTQNSD, unix.SIOCGIFMAP,
}

// socketCommands is 0x8900 to 0x89ff, linux/sockios.h, and 0x8b00 to 0x8bff,
// linux/wireless.h. What a driver may lack is answered as by one that does, since
// programs go on then.
func (c *compiler) socketCommands(pass label) []interval {
	refuse, lacking := c.errno(unix.EPERM), c.errno(unix.EOPNOTSUPP)
	intervals := []interval{
		{unix.SIOCETHTOOL, 0x8948, lacking}, // and SIOCGMIIPHY, SIOCGMIIREG
		{0x8b00, 0x8bff, lacking},
	}
	for command := uint32(0x8900); command <= 0x89ff; command++ {
		switch {
		case slices.Contains(socketReads, command):
			intervals = append(intervals, single(command, pass))
		case command < unix.SIOCETHTOOL || command > 0x8948:
			intervals = append(intervals, single(command, refuse))
		}
	}
	return intervals
}
