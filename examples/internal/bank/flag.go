package bank

import (
	"fmt"
	"strconv"

	flag "github.com/spf13/pflag"
)

const maxGrays = 1000 // no instance has more ASAs

// GraysFlag adds the flag --clients to those of a program, for how many Grays there
// are to be at the same time.
func GraysFlag(f *flag.FlagSet, grays *int) {
	*grays = 1
	f.FuncP("clients", "c", "run `C` Grays at the same time (default 1)", func(s string) (err error) {
		if *grays, err = strconv.Atoi(s); err != nil || *grays < 1 || *grays > maxGrays {
			return fmt.Errorf("it must be from 1 to %d", maxGrays)
		}
		return nil
	})
}
