package core

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/sandlock/sandlock/core/internal/handler"
)

func TestRecordsJSON(t *testing.T) {
	argv := []string{"", "plain", "\"\\/\b\f\n\r\t\x00\x1f\x7f", "é€𝄞\u2028"}
	r := Result{Execs: []ExecRecord{{"execve", 7, argv, ExecRan}, {"execveat", 8, nil, ExecAllowed}}}
	var got []ExecRecord
	if err := json.Unmarshal([]byte(r.ExecsJSON()), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].PID != 7 || !slices.Equal(got[0].Argv, argv) || got[0].Outcome != ExecRan || got[1].Argv != nil {
		t.Errorf("%+v", got)
	}
	if got := jsonStrings([]string{"a\xff\xc3(\xe2\x82"}); got != `["a\udcff\udcc3(\udce2\udc82"]` {
		t.Error(got)
	}
	if (&Result{}).ExecsJSON() != "[]" || (&Result{}).AuditJSON() != "[]" {
		t.Error("no empty list")
	}
}

func TestRecordsAreBounded(t *testing.T) {
	r := &records{execs: true}
	small, big := &handler.ExecEvent{Argv: []string{"a"}}, &handler.ExecEvent{Argv: []string{string(make([]byte, maxRecordBytes/2))}}
	for i := range 3 {
		if at := r.Add(big, ExecDenied); (at >= 0) != (i < 2) {
			t.Errorf("%d: %d", i, at)
		}
	}
	r.Settle(-1, ExecRan)
	r = &records{execs: true}
	for range maxRecords + 5 {
		r.Add(small, ExecDenied)
	}
	r.Settle(maxRecords-1, ExecRan)
	var to Result
	r.fill(&to)
	if len(to.Execs) != maxRecords || to.Execs[maxRecords-1].Outcome != ExecRan || to.RecordsDropped != 5 {
		t.Errorf("%d, %d", len(to.Execs), to.RecordsDropped)
	}
}
