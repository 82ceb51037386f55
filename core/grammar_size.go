package core

import (
	"fmt"
	"math/big"
	"strings"
)

// ParseSize reads the size grammar of policy.md, section 8: digits[.digits]
// [K|M|G|T], in any case, spaces tolerated, powers of 1024, truncated to a whole
// number of bytes.
func ParseSize(text string) (uint64, error) {
	bad := func() (uint64, error) {
		return 0, fmt.Errorf("%s is not a size; write digits[.digits] and perhaps K, M, G or T, such as 512M or 1.5G", quote(text))
	}
	number := strings.Trim(text, " \t")
	if len(number) > 64 {
		return bad()
	}
	shift := uint(0)
	if number != "" {
		if i := strings.IndexByte("KMGT", number[len(number)-1]&^0x20); i >= 0 {
			shift = 10 * uint(i+1)
			number = strings.TrimRight(number[:len(number)-1], " \t")
		}
	}
	whole, fraction, point := strings.Cut(number, ".")
	if !isDigits(whole) || point && !isDigits(fraction) {
		return bad()
	}
	value, ok := new(big.Rat).SetString(number)
	if !ok {
		return bad()
	}
	value.Mul(value, new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), shift)))
	size := new(big.Int).Quo(value.Num(), value.Denom())
	if !size.IsUint64() {
		return 0, fmt.Errorf("%s is more bytes than fit into 64 bits", quote(text))
	}
	return size.Uint64(), nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
