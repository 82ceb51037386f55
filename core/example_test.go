package core_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/sandlock/sandlock/core"
)

// A policy function prints each command line and denies one; the context ends what takes
// too long.
func Example() {
	policy := core.NewPolicy()
	policy.FSReadable = []string{"/usr", "/lib", "/lib64", "/bin"}
	policy.PolicyFn = func(ev *core.Event, _ *core.Context) core.Verdict {
		fmt.Println(strings.Join(ev.Argv, " "))
		if ev.Argv[0] == "/bin/cat" {
			return core.Deny
		}
		return core.Allow
	}
	plan, err := policy.Compile()
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	result, err := plan.RunContext(ctx, core.Command{
		Argv:  []string{"sh", "-c", "/bin/echo out; /bin/cat /etc/passwd || exit 3"},
		Stdin: -1,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d %q\n", result.ExitCode, result.Stdout)
	// Output:
	// sh -c /bin/echo out; /bin/cat /etc/passwd || exit 3
	// /bin/echo out
	// /bin/cat /etc/passwd
	// 3 "out\n"
}
