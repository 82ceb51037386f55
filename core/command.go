package core

// Command is what one run starts. It is plain data.
type Command struct {
	// Name of the run; "" takes the policy's, and then sandbox-<pid>-<counter>.
	Name string
	// Argv as bytes. Argv[0] without a slash is looked up in the PATH that the
	// command itself will have.
	Argv []string
	// Environ is the base environment, as os.Environ() has it; nil takes that.
	Environ []string
	// Stdin is a descriptor that becomes the command's standard input, duplicated
	// during Create; -1 is /dev/null. The zero value is descriptor 0: set it.
	Stdin int
	// Interactive hands the host's own 0, 1 and 2 to the command, keeps it in the
	// host's session and gives it the terminal while it runs. Nothing is captured.
	Interactive bool
	// OnClose, when not nil, is called exactly once: when the run is over and its
	// PolicyFn neither runs nor will run again, or when Create fails.
	OnClose func()
}
