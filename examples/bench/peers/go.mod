module github.com/go-grasp/grasp/examples/bench/peers

go 1.26.0

require (
	github.com/go-grasp/grasp v0.0.0
	github.com/pion/mdns/v2 v2.2.2
	golang.org/x/net v0.62.0
	google.golang.org/grpc v1.85.0
)

require (
	github.com/fxamacker/cbor/v2 v2.9.6 // indirect
	github.com/pion/logging v0.2.4 // indirect
	github.com/x448/float16 v0.8.4 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	golang.org/x/time v0.16.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260817212433-ac3dfec99bb1 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace github.com/go-grasp/grasp => ../../..
