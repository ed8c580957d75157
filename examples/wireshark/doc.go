// Package wireshark holds grasp.lua, a dissector of GRASP for Wireshark and
// tshark, and its tests. How it is used is told at its beginning.
package wireshark
