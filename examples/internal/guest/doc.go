// Command guest is the first process of the machines that .ci/kernels boots: it
// brings up the network and runs the programs that its initrd names. It is empty
// but on Linux.
package main
