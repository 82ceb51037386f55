package warden

import _ "embed"

//go:embed warden_arm64.elf
var image []byte
