package clipstyler

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
)

// keepEndings makes streams end as they should where gRPC does not.
func keepEndings(
	ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn, method string, begin grpc.Streamer,
	options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := begin(ctx, description, connection, method, options...)
	if err != nil {
		return nil, err
	}
	return endingStream{stream}, nil
}

// endingStream has the reason why gRPC's last attempt of a stream was refused. If that came before all messages were sent
// again, gRPC gives an io.EOF that is wrapped instead; receiving once more gives the reason.
type endingStream struct {
	grpc.ClientStream
}

func (s endingStream) SendMsg(message any) error {
	err := s.ClientStream.SendMsg(message)
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return err
}

func (s endingStream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if err != io.EOF && errors.Is(err, io.EOF) {
		return s.ClientStream.RecvMsg(message)
	}
	return err
}
