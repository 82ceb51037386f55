package core

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestFieldsPage reads docs/fields.md: it has every field, its defaults are those of
// NewPolicy, its examples are good policies that differ from it, and what it says is
// refused is.
func TestFieldsPage(t *testing.T) {
	page, err := os.ReadFile("../docs/fields.md")
	if err != nil {
		t.Fatal(err)
	}
	built, unbuilt, _ := strings.Cut(string(page), "## Not built yet")
	code := regexp.MustCompile("^`(.*)`$")
	cell := func(text string) string {
		if m := code.FindStringSubmatch(strings.TrimSpace(text)); m != nil {
			return m[1]
		}
		return ""
	}

	rows := map[string]bool{}
	for line := range strings.Lines(built) {
		columns := strings.Split(line, "|")
		if len(columns) != 9 || !strings.HasPrefix(line, "| `") {
			continue
		}
		field := cell(columns[1])
		rows[field] = true
		if jsonFields[field] == nil {
			t.Errorf("%s: no field that is built", field)
			continue
		}
		document := func(value string) []byte { return []byte(`{"` + field + `": ` + value + `}`) }

		p := NewPolicy()
		if err := p.Merge(document(cell(columns[3]))); err != nil {
			t.Errorf("%s: default: %v", field, err)
		} else if !reflect.DeepEqual(p.snapshot(), *NewPolicy()) {
			t.Errorf("%s: %s is not the default", field, cell(columns[3]))
		}
		if example := cell(columns[4]); example != "" {
			if p, err := ParsePolicy(document(example)); err != nil {
				t.Errorf("%s: example: %v", field, err)
			} else if reflect.DeepEqual(p, NewPolicy()) {
				t.Errorf("%s: the example is the default", field)
			} else if err := p.unconfinable(); (err == nil) != slices.Contains(confinable, field) {
				t.Errorf("%s: a process that confines itself: %v", field, err)
			}
		} else if field != "policy_fn" {
			t.Errorf("%s: no example", field)
		}
		if p, err := ParsePolicy(document(cell(columns[5]))); err == nil {
			t.Errorf("%s: not refused: %+v", field, p)
		} else if !strings.Contains(err.Error(), field) {
			t.Errorf("%s: not named: %v", field, err)
		}
		if strings.TrimSpace(columns[2]) == "" || strings.TrimSpace(columns[6]) == "" || strings.TrimSpace(columns[7]) == "" {
			t.Errorf("%s: its type, what keeps it, or what it costs is missing", field)
		}
	}
	for _, field := range slices.Sorted(maps.Keys(jsonFields)) {
		if !rows[field] {
			t.Errorf("%s: not on the page", field)
		}
	}

	var named []string
	for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(unbuilt, -1) {
		named = append(named, m[1])
	}
	slices.Sort(named)
	if all := slices.Sorted(maps.Keys(unbuiltFields)); !slices.Equal(named, all) {
		t.Errorf("not built are %v, the page says %v", all, named)
	}
}
