package bpf

// NativeArch is the architecture that this process runs on. Elsewhere than on
// those with a program the package does not build.
func NativeArch() Arch { return ARM64 }
