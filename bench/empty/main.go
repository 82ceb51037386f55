// Empty is what a Go program costs that does nothing: a peer of the tool.
package main

func main() {}
