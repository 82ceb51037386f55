package abi

import (
	"os"
	"strings"
	"testing"
)

// TestConfine has processes confine themselves, each in one way.
func TestConfine(t *testing.T) {
	bin := build(t, "confine", true)
	ways := strings.Fields("basic fields callback stacked part uring running nested looser executable setuid first")
	if os.Getenv("SANDLOCK_SOAK") != "" {
		ways = append(ways, "silent") // takes ten seconds
	}
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			switch out := output(t, "", bin, way, t.TempDir()); out {
			case "":
			case "no io_uring\n":
				t.Skip("this machine has no io_uring")
			default:
				t.Errorf("printed %q", out)
			}
		})
	}
}
