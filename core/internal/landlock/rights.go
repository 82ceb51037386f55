package landlock

import (
	"strings"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// The rights that each ABI added, landlock(7), "VERSIONS":
//
//	ABI  Linux  rights
//	 1   5.13   execute … make_sym
//	 2   5.19   refer
//	 3   6.2    truncate
//	 4   6.7    bind_tcp, connect_tcp
//	 5   6.10   ioctl_dev
//	 6   6.12   scopes: abstract_unix_socket, signal
//	 7   6.15   flags of landlock_restrict_self for the audit log
//	 8   7.0    flag of landlock_restrict_self for all threads
//	 9          resolve_unix
//	10          bind_udp, connect_send_udp
const (
	fsABI1 = ll.AccessFSMakeSym<<1 - 1

	netTCP = ll.AccessNetBindTCP | ll.AccessNetConnectTCP
	netUDP = ll.AccessNetBindUDP | ll.AccessNetConnectSendUDP
	scopes = ll.ScopeAbstractUnixSocket | ll.ScopeSignal
)

// fileRights may be granted on what is not a directory; any other right in such
// a rule is EINVAL (landlock_add_rule(2)).
const fileRights = ll.AccessFSExecute | ll.AccessFSWriteFile | ll.AccessFSReadFile |
	ll.AccessFSTruncate | ll.AccessFSIoctlDev | ll.AccessFSResolveUnix

const (
	readRights = ll.AccessFSReadFile | ll.AccessFSReadDir

	// Never make_char and make_block: root could make a node of the disk under a
	// writable path and read all files through it.
	writeRights = ll.AccessFSWriteFile | ll.AccessFSRemoveDir | ll.AccessFSRemoveFile |
		ll.AccessFSMakeDir | ll.AccessFSMakeReg | ll.AccessFSMakeSock | ll.AccessFSMakeFifo |
		ll.AccessFSMakeSym | ll.AccessFSRefer | ll.AccessFSTruncate | ll.AccessFSIoctlDev |
		ll.AccessFSResolveUnix
)

// known returns all rights of a kernel with that ABI, up to those that this
// package knows.
func known(abi int) (fs, net, scoped uint64) {
	if abi >= 1 {
		fs = fsABI1
	}
	if abi >= 2 {
		fs |= ll.AccessFSRefer
	}
	if abi >= 3 {
		fs |= ll.AccessFSTruncate
	}
	if abi >= 4 {
		net |= netTCP
	}
	if abi >= 5 {
		fs |= ll.AccessFSIoctlDev
	}
	if abi >= 6 {
		scoped = scopes
	}
	if abi >= 9 {
		fs |= ll.AccessFSResolveUnix
	}
	if abi >= 10 {
		net |= netUDP
	}
	return fs, net, scoped
}

var (
	fsNames = []string{"execute", "write_file", "read_file", "read_dir", "remove_dir",
		"remove_file", "make_char", "make_dir", "make_reg", "make_sock", "make_fifo",
		"make_block", "make_sym", "refer", "truncate", "ioctl_dev", "resolve_unix"}
	netNames   = []string{"bind_tcp", "connect_tcp", "bind_udp", "connect_send_udp"}
	scopeNames = []string{"abstract_unix_socket", "signal"}
)

// join spells a set of rights in the order of their bits.
func join(set uint64, names []string) string {
	var have []string
	for i, name := range names {
		if set&(1<<i) != 0 {
			have = append(have, name)
		}
	}
	if have == nil {
		return "none"
	}
	return strings.Join(have, " ")
}
