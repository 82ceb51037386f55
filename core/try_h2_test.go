package core
import ("testing";"os";"strings";"fmt")
func TestTryH2(t *testing.T){
 p:=NewPolicy(); p.FSReadable=[]string{"/"}; p.FSWritable=[]string{"/dev/shm"}
 var m uint64; fmt.Sscan(os.Getenv("LIM"),&m); m<<=20
 if m>0 {p.MaxMemory=&m}
 var c uint32; fmt.Sscan(os.Getenv("CPU"),&c); if c>0 {p.MaxCPU=&c}
 if os.Getenv("WALK")!="" {p.Disable=[]Protection{SignalScope}}
 pl,err:=p.Compile(); if err!=nil{t.Fatal(err)}
 r,err:=pl.Run(Command{Argv:strings.Fields(os.Getenv("CMD")),Stdin:-1},0)
 if err!=nil{t.Fatal(err)}
 fmt.Printf("%s: reason %v code %d err %q limits %v out %q %q log %q rss %dM wall %v cpu %v\n",os.Getenv("CMD"),r.Reason,r.ExitCode,r.Error,r.Limits.Names(),string(r.Stdout[:min(len(r.Stdout),100)]),string(r.Stderr[:min(len(r.Stderr),300)]),r.Log,r.MaxRSS>>20,r.WallTime,r.UserTime+r.SystemTime)
}
