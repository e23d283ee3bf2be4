package clipstyler

import (
	"context"
	"fmt"
	"slices"
	"time"

	pb "clipstyler.dev/client/go/clipstylerv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

const (
	// DefaultTarget is where a server listens by default.
	DefaultTarget = "127.0.0.1:50051"

	pollInterval = 100 * time.Millisecond
	infoTimeout  = 10 * time.Second
)

var ready = []pb.ServerInfo_Worker_State{pb.ServerInfo_Worker_STATE_IDLE, pb.ServerInfo_Worker_STATE_BUSY}

// Client is a connection to a clipstyler server. It is safe for concurrent use.
type Client struct {
	// Jobs has the calls on durable jobs.
	Jobs *Jobs
	// Styles has the calls on styles: fitted once, applied to any number of photos.
	Styles *Styles
	// Encoders are the encoders themselves: embeddings, text directions, classification, evaluation.
	Encoders *Encoders

	connection   *grpc.ClientConn
	life         context.Context // ends when the client is closed
	end          context.CancelFunc
	stylizations pb.StylizationServiceClient
	server       pb.ServerServiceClient
}

// Connect makes a client of the server at "HOST:PORT". The connection is not encrypted unless options say otherwise,
// with [grpc.WithTransportCredentials]. The proxy that HTTPS_PROXY names is used only if grpc_proxy is set, too.
func Connect(target string, options ...grpc.DialOption) (*Client, error) {
	if !isAddress(target) {
		problem := fmt.Sprintf("target: %q is no address of a server: use HOST:PORT, such as %s", target, DefaultTarget)
		return nil, invalid(problem, nil)
	}
	connection, err := grpc.NewClient(target, append(dialOptions(), options...)...)
	if err != nil {
		return nil, invalid(err.Error(), err)
	}
	stylizations := pb.NewStylizationServiceClient(connection)
	life, end := context.WithCancel(context.Background())
	return &Client{
		Jobs:         &Jobs{stub: stylizations, life: life},
		Styles:       &Styles{stub: pb.NewStyleServiceClient(connection), life: life},
		Encoders:     &Encoders{stub: pb.NewEncoderServiceClient(connection), life: life},
		connection:   connection,
		life:         life,
		end:          end,
		stylizations: stylizations,
		server:       pb.NewServerServiceClient(connection),
	}, nil
}

// Close closes the connection; running calls are cancelled, those that wait for their next attempt and later ones, too.
func (c *Client) Close() error {
	c.end()
	return c.connection.Close()
}

// Stylize stylizes a photo by a text while the call lasts.
//
// A call that a restart of the server interrupts begins again: its events start over, with the same result if a seed
// is given. Jobs.Create and Jobs.Watch continue instead.
func (c *Client) Stylize(ctx context.Context, request *pb.StylizeRequest) *Stream {
	begin := func(ctx context.Context, _ int64) (receive, error) {
		return eventsOf(c.stylizations.Stylize(ctx, request))
	}
	return &Stream{ctx: ctx, life: c.life, begin: begin}
}

// ServerInfo returns version, limits, encoder sets, workers and queue.
func (c *Client) ServerInfo(ctx context.Context) (*pb.ServerInfo, error) {
	ctx, cancel := limited(ctx, c.life, infoTimeout)
	defer cancel()
	response, err := unary(ctx, c.life, c.server.GetServerInfo, &pb.GetServerInfoRequest{})
	return response.GetServerInfo(), err
}

// WaitUntilReady waits until a worker takes jobs. It returns UNAVAILABLE if none does before the deadline of ctx, and
// CANCELLED when ctx is cancelled or the client is closed.
func (c *Client) WaitUntilReady(ctx context.Context) (*pb.ServerInfo, error) {
	ctx, cancel := during(ctx, c.life)
	defer cancel()
	problem := "its worker is still starting"
	for {
		info, err := c.ServerInfo(ctx)
		if err != nil {
			problem = err.Error()
		} else if slices.ContainsFunc(info.GetWorkers(), isReady) {
			return info, nil
		}
		select {
		case <-ctx.Done():
			if end := endOf(ctx); end.Code == codes.Canceled {
				return nil, end
			}
			return nil, &Error{Code: codes.Unavailable, Message: "the server was not ready in time: " + problem, cause: ctx.Err()}
		case <-time.After(pollInterval):
		}
	}
}

func isReady(worker *pb.ServerInfo_Worker) bool { return slices.Contains(ready, worker.GetState()) }
