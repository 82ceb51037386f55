package main

// kind is how a field is written on the command line and in TOML.
type kind int

const (
	boolean kind = iota // --flag, --flag=false; true or false
	text                // one string
	size                // "512M", or a number of bytes
	integer             // a whole number, or a word that core knows
	seconds             // a number
	list                // of strings, one for each flag
	rules               // of network rules; a comma separates them on the command line
	ports               // of ports, numbers or strings
	numbers             // of whole numbers; a comma separates them on the command line
	table               // NAME=VALUE for each flag; a table of strings
	mounts              // VIRTUAL:HOST[:ro|:rw]: fs_mount or fs_mount_ro
)

// field is one field of a policy: its name in Python and JSON, its flag, its key in a
// profile. Which of them are built is core's to say, which refuses the others by name.
type field struct {
	name  string
	long  string
	short byte
	kind  kind
	arg   string // what the help calls the value
	toml  string // section.key; "" when a profile can't set it
	path  bool   // the strings are paths of the host
	help  string
}

var fields = []field{
	{name: "fs_readable", long: "fs-read", short: 'r', kind: list, arg: "PATH", toml: "filesystem.read", path: true, help: "may be read, listed and executed, with all beneath"},
	{name: "fs_writable", long: "fs-write", short: 'w', kind: list, arg: "PATH", toml: "filesystem.write", path: true, help: "… and written, too"},
	{name: "fs_executable", long: "fs-exec", short: 'x', kind: list, arg: "PATH", toml: "filesystem.exec", path: true, help: "when given, only what lies beneath may be executed"},
	{name: "fs_denied", long: "fs-deny", kind: list, arg: "PATH", toml: "filesystem.deny", path: true, help: "taken out of what is granted"},
	{name: "cwd", long: "cwd", kind: text, arg: "DIR", toml: "program.cwd", path: true, help: "working directory of the command"},
	{name: "workdir", long: "workdir", kind: text, arg: "DIR", toml: "config.workdir", path: true, help: "root of the copy-on-write layer"},
	{name: "chroot", long: "chroot", kind: text, arg: "DIR", toml: "filesystem.chroot", path: true, help: "virtual root"},
	{name: "fs_mount", long: "fs-mount", kind: mounts, arg: "V:H[:ro|:rw]", toml: "filesystem.mount", help: "directory H of the host as V in the virtual root"},
	{name: "fs_storage", long: "fs-storage", kind: text, arg: "DIR", toml: "config.fs_storage", path: true, help: "where the copy-on-write layer is kept"},
	{name: "max_disk", long: "max-disk", kind: size, arg: "SIZE", toml: "limits.disk", help: "quota of the copy-on-write layer"},
	{name: "on_exit", long: "on-exit", kind: text, arg: "ACTION", toml: "filesystem.on_exit", help: "commit, abort or keep what was written, after exit code 0"},
	{name: "on_error", long: "on-error", kind: text, arg: "ACTION", toml: "filesystem.on_error", help: "… after any other end"},
	{name: "unix_allow", long: "unix-allow", kind: list, arg: "PATH", toml: "network.unix_allow", path: true, help: "named socket that may be connected to"},

	{name: "net_allow", long: "net-allow", kind: rules, arg: "RULE,…", toml: "network.allow", help: "may be reached: [tcp|udp|icmp://]HOST[:PORTS]"},
	{name: "net_allow_private_names", long: "net-allow-private-names", kind: boolean, toml: "network.allow_private_names", help: "names in --net-allow may be those of internal addresses"},
	{name: "net_deny", long: "net-deny", kind: rules, arg: "RULE,…", toml: "network.deny", help: "may not be reached"},
	{name: "net_allow_bind", long: "net-allow-bind", kind: ports, arg: "PORTS", toml: "network.allow_bind", help: "TCP ports that may be listened on: N, LO-HI or *"},
	{name: "net_deny_bind", long: "net-deny-bind", kind: ports, arg: "PORTS", toml: "network.deny_bind", help: "TCP ports that may not be listened on"},
	{name: "port_remap", long: "port-remap", kind: boolean, toml: "network.port_remap", help: "virtual TCP ports"},

	{name: "http_allow", long: "http-allow", kind: list, arg: "RULE", toml: "http.allow", help: "HTTP request that may be made: METHOD HOST/PATH"},
	{name: "http_deny", long: "http-deny", kind: list, arg: "RULE", toml: "http.deny", help: "HTTP request that may not be made"},
	{name: "http_ports", long: "http-port", kind: numbers, arg: "PORT", toml: "http.ports", help: "TCP port whose traffic is HTTP"},
	{name: "http_ca", long: "http-ca", kind: text, arg: "FILE", toml: "config.http_ca", path: true, help: "CA certificate for HTTPS"},
	{name: "http_key", long: "http-key", kind: text, arg: "FILE", toml: "config.http_key", path: true, help: "… and its key"},
	{name: "http_inject_ca", long: "http-inject-ca", kind: list, arg: "FILE", toml: "config.http_inject_ca", path: true, help: "trust bundle that gets the CA"},
	{name: "http_ca_out", long: "http-ca-out", kind: text, arg: "FILE", toml: "config.http_ca_out", path: true, help: "where the CA certificate is written"},
	{name: "credentials", long: "credential", kind: table, arg: "NAME=SOURCE", help: "a secret: env:VARIABLE, file:PATH or fd:N"},
	{name: "http_auth", long: "http-auth", kind: list, arg: "RULE", help: "requests that get a secret"},

	{name: "max_memory", long: "max-memory", short: 'm', kind: size, arg: "SIZE", toml: "limits.memory", help: "memory of the whole sandbox"},
	{name: "max_processes", long: "max-processes", short: 'P', kind: integer, arg: "N", toml: "limits.processes", help: "processes at a time (64), or unlimited"},
	{name: "max_cpu", long: "cpu", short: 'c', kind: integer, arg: "PERCENT", toml: "limits.cpu", help: "share of one core, 1 to 100"},
	{name: "max_open_files", long: "max-open-files", kind: integer, arg: "N", toml: "limits.open_files", help: "descriptors of each process"},
	{name: "cpu_cores", long: "cpu-cores", kind: numbers, arg: "N,…", toml: "limits.cpu_cores", help: "cores that it may run on"},
	{name: "num_cpus", long: "num-cpus", kind: integer, arg: "N", toml: "limits.num_cpus", help: "how many CPUs it sees"},
	{name: "gpu_devices", long: "gpu", kind: numbers, arg: "all|N,…", toml: "limits.gpu_devices", help: "GPUs that it may use"},
	{name: "max_output", long: "max-output", kind: size, arg: "SIZE", toml: "limits.output", help: "captured bytes kept of each stream"},
	{name: "term_grace", long: "term-grace", kind: seconds, arg: "SECONDS", toml: "limits.term_grace", help: "between SIGTERM and SIGKILL at a timeout"},
	{name: "no_coredump", long: "no-coredump", kind: boolean, toml: "program.no_coredump", help: "no core dumps"},

	{name: "random_seed", long: "random-seed", kind: integer, arg: "N", toml: "determinism.random_seed", help: "the same random numbers each time"},
	{name: "time_start", long: "time-start", kind: text, arg: "RFC3339", toml: "determinism.time_start", help: "where its clock starts"},
	{name: "no_randomize_memory", long: "no-randomize-memory", kind: boolean, toml: "determinism.no_randomize_memory", help: "no address space layout randomisation"},
	{name: "deterministic_dirs", long: "deterministic-dirs", kind: boolean, toml: "determinism.deterministic_dirs", help: "directories are listed by name"},
	{name: "no_huge_pages", long: "no-huge-pages", kind: boolean, toml: "program.no_huge_pages", help: "no transparent huge pages"},

	{name: "clean_env", long: "clean-env", kind: boolean, toml: "program.clean_env", help: "keep only PATH, HOME, USER, TERM, LANG"},
	{name: "env", long: "env", short: 'e', kind: table, arg: "NAME=VALUE", toml: "program.env", help: "set a variable"},
	{name: "uid", kind: integer, toml: "program.uid", help: "the user that it sees itself as"},
	{name: "gid", kind: integer, toml: "program.gid", help: "the group"},
	{name: "extra_deny_syscalls", long: "extra-deny-syscall", kind: list, arg: "NAME", toml: "syscalls.extra_deny", help: "system call that is denied, too"},
	{name: "extra_allow_syscalls", long: "extra-allow-syscall", kind: list, arg: "NAME", toml: "syscalls.extra_allow", help: "system call that is not denied"},
	{name: "allow_degraded", long: "allow-degraded", kind: list, arg: "PROTECTION", help: "may be missing on this kernel"},
	{name: "disable", long: "disable", kind: list, arg: "PROTECTION", help: "off on every kernel"},
	{name: "argv_safety", long: "argv-safety", kind: text, arg: "strict|landlock", help: "what becomes of an exec that can't be followed"},
	{name: "name", long: "name", short: 'n', kind: text, arg: "NAME", help: "name of the run"},
	{name: "no_supervisor", long: "no-supervisor", kind: boolean, help: "no listener, only what the kernel decides alone"},
}

// fieldNamed returns the field of a policy, nil for an unknown one.
func fieldNamed(name string) *field {
	for i := range fields {
		if fields[i].name == name {
			return &fields[i]
		}
	}
	return nil
}

// fieldAt returns the field that a key of a profile sets, nil for an unknown one.
func fieldAt(key string) *field {
	for i := range fields {
		if fields[i].toml == key && key != "" {
			return &fields[i]
		}
	}
	return nil
}
