package clipstyler_test

import (
	"context"
	"crypto/sha256"
	"net"
	"testing"
	"time"

	"clipstyler.dev/client/go/clipstyler"
	pb "clipstyler.dev/client/go/clipstylerv1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

var image = make([]byte, 1000)

// server plays what a test sets.
type server struct {
	pb.UnimplementedStylizationServiceServer
	stylize func(*pb.StylizeRequest, events) error
	watch   func(*pb.WatchStylizationRequest, events) error
	create  func(*pb.CreateStylizationRequest) (*pb.CreateStylizationResponse, error)
	get     func(*pb.GetStylizationRequest) (*pb.GetStylizationResponse, error)
	list    func(*pb.ListStylizationsRequest) (*pb.ListStylizationsResponse, error)
	image   func(*pb.GetStylizationImageRequest, grpc.ServerStreamingServer[pb.GetStylizationImageResponse]) error
	upload  func(grpc.ClientStreamingServer[pb.UploadImageRequest, pb.UploadImageResponse]) error
}

// events is the call that the events are sent on.
type events struct {
	context.Context
	send func(*pb.StylizationEvent) error
}

func (s *server) Stylize(request *pb.StylizeRequest, call grpc.ServerStreamingServer[pb.StylizeResponse]) error {
	return s.stylize(request, events{call.Context(), func(event *pb.StylizationEvent) error {
		return call.Send(&pb.StylizeResponse{Event: event})
	}})
}

func (s *server) WatchStylization(
	request *pb.WatchStylizationRequest, call grpc.ServerStreamingServer[pb.WatchStylizationResponse],
) error {
	return s.watch(request, events{call.Context(), func(event *pb.StylizationEvent) error {
		return call.Send(&pb.WatchStylizationResponse{Event: event})
	}})
}

func (s *server) CreateStylization(
	_ context.Context, request *pb.CreateStylizationRequest,
) (*pb.CreateStylizationResponse, error) {
	return s.create(request)
}

func (s *server) GetStylization(_ context.Context, request *pb.GetStylizationRequest) (*pb.GetStylizationResponse, error) {
	return s.get(request)
}

func (s *server) ListStylizations(
	_ context.Context, request *pb.ListStylizationsRequest,
) (*pb.ListStylizationsResponse, error) {
	return s.list(request)
}

func (s *server) GetStylizationImage(
	request *pb.GetStylizationImageRequest, call grpc.ServerStreamingServer[pb.GetStylizationImageResponse],
) error {
	return s.image(request, call)
}

func (s *server) UploadImage(call grpc.ClientStreamingServer[pb.UploadImageRequest, pb.UploadImageResponse]) error {
	return s.upload(call)
}

// serve runs the server for the duration of a test and returns a client of it.
func (s *server) serve(t *testing.T) *clipstyler.Client {
	t.Helper()
	return serve(t, func(running *grpc.Server) { pb.RegisterStylizationServiceServer(running, s) })
}

// serve runs a server of what is registered for the duration of a test and returns a client of it.
func serve(t *testing.T, register func(*grpc.Server)) *clipstyler.Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, listener, register)
}

// serveInMemory runs the server without a network: the time of a [synctest] bubble passes while it waits.
func (s *server) serveInMemory(t *testing.T, options ...grpc.DialOption) *clipstyler.Client {
	t.Helper()
	return serveInMemory(t, func(running *grpc.Server) { pb.RegisterStylizationServiceServer(running, s) }, options...)
}

func serveInMemory(t *testing.T, register func(*grpc.Server), options ...grpc.DialOption) *clipstyler.Client {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	dial := func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }
	return serveOn(t, listener, register, append(options, grpc.WithContextDialer(dial))...)
}

func serveOn(t *testing.T, listener net.Listener, register func(*grpc.Server), options ...grpc.DialOption) *clipstyler.Client {
	t.Helper()
	running := grpc.NewServer()
	register(running)
	go running.Serve(listener)
	client, err := clipstyler.Connect("passthrough:"+listener.Addr().String(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		running.Stop()
	})
	return client
}

// play sends numbered events, those after a sequence number.
func (e events) play(after int64, script ...*pb.StylizationEvent) error {
	for index, event := range script {
		event = proto.CloneOf(event)
		if event.Sequence = int64(index) + 1; event.Sequence <= after {
			continue
		}
		if err := e.send(event); err != nil {
			return err
		}
	}
	return nil
}

func queued() *pb.StylizationEvent {
	return &pb.StylizationEvent{Event: &pb.StylizationEvent_Queued_{Queued: &pb.StylizationEvent_Queued{Seed: 7}}}
}

func progress(step int32) *pb.StylizationEvent {
	body := &pb.StylizationEvent_Progress{Step: step, Steps: 3}
	return &pb.StylizationEvent{Event: &pb.StylizationEvent_Progress_{Progress: body}}
}

func chunk(begin, end int) *pb.StylizationEvent {
	body := &pb.StylizationEvent_Chunk{Offset: int64(begin), Data: image[begin:end]}
	return &pb.StylizationEvent{Event: &pb.StylizationEvent_Chunk_{Chunk: body}}
}

func result(data []byte) *pb.StylizationEvent {
	body := &pb.StylizationEvent_Result{Result: &pb.StylizationResult{Image: announced()}, ImageData: data}
	return &pb.StylizationEvent{Event: &pb.StylizationEvent_Result_{Result: body}}
}

func announced() *pb.ImageMetadata {
	digest := sha256.Sum256(image)
	return &pb.ImageMetadata{SizeBytes: int64(len(image)), Sha256: digest[:], WidthPx: 64}
}

func refusal(code codes.Code, reason string, delay time.Duration, fields ...string) error {
	info := &errdetails.ErrorInfo{Reason: reason, Domain: "clipstyler.dev", Metadata: map[string]string{"state": "starting"}}
	details := []protoadapt.MessageV1{protoadapt.MessageV1Of(info)}
	if delay > 0 {
		details = append(details, protoadapt.MessageV1Of(&errdetails.RetryInfo{RetryDelay: durationpb.New(delay)}))
	}
	request := &errdetails.BadRequest{}
	for _, field := range fields {
		violation := &errdetails.BadRequest_FieldViolation{Field: field, Description: "is wrong"}
		request.FieldViolations = append(request.FieldViolations, violation)
	}
	details = append(details, protoadapt.MessageV1Of(request))
	refused, err := status.New(code, reason+" happened").WithDetails(details...)
	if err != nil {
		panic(err)
	}
	return refused.Err()
}
