package warden

import _ "embed"

//go:embed warden_amd64.elf
var image []byte
