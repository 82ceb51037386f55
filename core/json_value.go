package core

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The policy's JSON is read by a parser of our own, for two things that
// encoding/json doesn't do: strings are bytes (a lone surrogate stands for a byte,
// see surrogate), and a key that stands twice in an object is an error.

const (
	maxJSONSize  = 16 << 20
	maxJSONDepth = 16
)

type jsonKind byte

const (
	jsonNull jsonKind = iota
	jsonBool
	jsonNumber
	jsonString
	jsonList
	jsonObject
)

func (k jsonKind) String() string {
	return [...]string{"null", "a boolean", "a number", "a string", "a list", "an object"}[k]
}

// jsonValue is one value of RFC 8259.
type jsonValue struct {
	kind    jsonKind
	source  string // as it stands in the document
	text    string // the bytes of a string, the digits of a number
	on      bool   // of a boolean
	list    []jsonValue
	members []jsonMember
}

type jsonMember struct {
	key   string
	value jsonValue
}

// jsonError is a document that is not JSON.
type jsonError struct {
	offset int
	reason string
}

func (e *jsonError) Error() string { return e.reason }

// parseJSON reads a whole document.
func parseJSON(doc []byte) (jsonValue, *jsonError) {
	if len(doc) > maxJSONSize {
		return jsonValue{}, &jsonError{0, fmt.Sprintf("the document has %d bytes; at most %d are read", len(doc), maxJSONSize)}
	}
	p := jsonParser{doc: string(doc)}
	v, err := p.value(0)
	if err != nil {
		return v, err
	}
	p.space()
	if p.at < len(p.doc) {
		return v, p.fail("something follows the end of the document")
	}
	return v, nil
}

type jsonParser struct {
	doc string
	at  int
}

func (p *jsonParser) fail(format string, args ...any) *jsonError {
	return &jsonError{p.at, fmt.Sprintf(format, args...)}
}

func (p *jsonParser) space() {
	for p.at < len(p.doc) && strings.IndexByte(" \t\r\n", p.doc[p.at]) >= 0 {
		p.at++
	}
}

// next returns the byte at the reading position, 0 at the end of the document;
// a NUL in the document fits nowhere either.
func (p *jsonParser) next() byte {
	if p.at < len(p.doc) {
		return p.doc[p.at]
	}
	return 0
}

func (p *jsonParser) value(depth int) (v jsonValue, err *jsonError) {
	p.space()
	start := p.at
	switch c := p.next(); {
	case c == '{' || c == '[':
		if depth == maxJSONDepth {
			return v, p.fail("it is nested deeper than %d", maxJSONDepth)
		}
		if c == '{' {
			v.kind = jsonObject
			v.members, err = p.object(depth + 1)
		} else {
			v.kind = jsonList
			v.list, err = p.array(depth + 1)
		}
	case c == '"':
		v.kind = jsonString
		v.text, err = p.str()
	case c == '-' || '0' <= c && c <= '9':
		v.kind = jsonNumber
		v.text, err = p.number()
	case strings.HasPrefix(p.doc[p.at:], "true"):
		v.kind, v.on, p.at = jsonBool, true, p.at+len("true")
	case strings.HasPrefix(p.doc[p.at:], "false"):
		v.kind, p.at = jsonBool, p.at+len("false")
	case strings.HasPrefix(p.doc[p.at:], "null"):
		p.at += len("null")
	case p.at == len(p.doc):
		return v, p.fail("the document ends too early")
	default:
		return v, p.fail("a JSON value should start here")
	}
	v.source = p.doc[start:p.at]
	return v, err
}

func (p *jsonParser) object(depth int) (members []jsonMember, err *jsonError) {
	p.at++ // {
	seen := map[string]bool{}
	if p.space(); p.next() == '}' {
		p.at++
		return members, nil
	}
	for {
		p.space()
		if p.next() != '"' {
			return nil, p.fail("a key in double quotes should stand here")
		}
		start := p.at
		key, err := p.str()
		if err != nil {
			return nil, err
		}
		if seen[key] {
			p.at = start
			return nil, p.fail("the key %s stands here for the second time", quote(key))
		}
		seen[key] = true
		if p.space(); p.next() != ':' {
			return nil, p.fail("a : should follow the key %s", quote(key))
		}
		p.at++
		value, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		members = append(members, jsonMember{key, value})
		if done, err := p.separator('}'); done || err != nil {
			return members, err
		}
	}
}

func (p *jsonParser) array(depth int) (list []jsonValue, err *jsonError) {
	p.at++ // [
	if p.space(); p.next() == ']' {
		p.at++
		return list, nil
	}
	for {
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		if done, err := p.separator(']'); done || err != nil {
			return list, err
		}
	}
}

func (p *jsonParser) separator(end byte) (done bool, err *jsonError) {
	p.space()
	switch p.next() {
	case end:
		p.at++
		return true, nil
	case ',':
		p.at++
		return false, nil
	}
	return false, p.fail("a , or %c should stand here", end)
}

func (p *jsonParser) number() (string, *jsonError) {
	start := p.at
	digits := func() bool {
		from := p.at
		for '0' <= p.next() && p.next() <= '9' {
			p.at++
		}
		return p.at > from
	}
	if p.next() == '-' {
		p.at++
	}
	zero := p.next() == '0'
	from := p.at
	if !digits() || zero && p.at > from+1 {
		return "", p.fail("this is not a JSON number")
	}
	if p.next() == '.' {
		p.at++
		if !digits() {
			return "", p.fail("digits should follow the decimal point")
		}
	}
	if c := p.next(); c == 'e' || c == 'E' {
		p.at++
		if c := p.next(); c == '+' || c == '-' {
			p.at++
		}
		if !digits() {
			return "", p.fail("the exponent has no digits")
		}
	}
	return p.doc[start:p.at], nil
}

func (p *jsonParser) str() (string, *jsonError) {
	p.at++ // "
	var out []byte
	for {
		switch c := p.next(); {
		case p.at == len(p.doc):
			return "", p.fail("a string is not closed")
		case c == '"':
			p.at++
			return string(out), nil
		case c < ' ':
			return "", p.fail("a control character in a string is written \\u%04x", c)
		case c == '\\':
			var err *jsonError
			if out, err = p.escape(out); err != nil {
				return "", err
			}
		default:
			_, size := utf8.DecodeRuneInString(p.doc[p.at:])
			if size == 1 && c >= utf8.RuneSelf {
				return "", p.fail("the byte %#02x is not UTF-8; bytes in a path are written \\udc%02x", c, c)
			}
			out = append(out, p.doc[p.at:p.at+size]...)
			p.at += size
		}
	}
}

func (p *jsonParser) escape(out []byte) ([]byte, *jsonError) {
	if p.at+1 == len(p.doc) {
		return nil, p.fail("a string is not closed")
	}
	if i := strings.IndexByte(`"\/bfnrt`, p.doc[p.at+1]); i >= 0 {
		p.at += 2
		return append(out, "\"\\/\b\f\n\r\t"[i]), nil
	}
	unit, ok := p.unit(p.at)
	if !ok {
		return nil, p.fail("unknown escape; there are \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u with four hexadecimal digits")
	}
	if unit < 0xd800 || unit > 0xdfff {
		p.at += 6
		return utf8.AppendRune(out, rune(unit)), nil
	}
	if low, ok := p.unit(p.at + 6); ok && unit < 0xdc00 && 0xdc00 <= low && low <= 0xdfff {
		p.at += 12
		return utf8.AppendRune(out, rune(unit-0xd800)<<10+rune(low-0xdc00)+0x10000), nil
	}
	b, ok := surrogate(unit)
	if !ok {
		return nil, p.fail("the surrogate \\u%04x has no partner; the bytes 0x80 to 0xff are written \\udc80 to \\udcff", unit)
	}
	p.at += 6
	return append(out, b), nil
}

// unit reads a \uXXXX at a position.
func (p *jsonParser) unit(at int) (uint16, bool) {
	if at+6 > len(p.doc) || p.doc[at] != '\\' || p.doc[at+1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(p.doc[at+2:at+6], 16, 16)
	return uint16(n), err == nil
}

// surrogate returns the byte that a lone surrogate stands for: what is not UTF-8
// in a path, argument or variable reaches JSON as Python's surrogateescape error
// handler writes it (PEP 383).
func surrogate(unit uint16) (byte, bool) {
	return byte(unit), 0xdc80 <= unit && unit <= 0xdcff
}
