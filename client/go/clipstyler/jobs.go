package clipstyler

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"iter"
	"strings"

	pb "clipstyler.dev/client/go/clipstylerv1"
	"google.golang.org/protobuf/proto"
)

const uploadChunkSize = 1 << 20

// Jobs has the calls on durable jobs: they survive this process, the connection and restarts of the server. A call
// whose context has no deadline takes at most a minute, a watch as long as its job.
type Jobs struct {
	stub pb.StylizationServiceClient
	life context.Context // ends when the client is closed
}

// Create creates a job. Retries create it once: the call is idempotent by its request id, which is drawn if the
// request has none.
func (j *Jobs) Create(ctx context.Context, request *pb.CreateStylizationRequest) (*pb.Stylization, error) {
	if request.GetRequestId() == "" {
		request = copied(request)
		request.RequestId = newUUID4()
	}
	response, err := unary(ctx, j.life, j.stub.CreateStylization, request)
	return response.GetStylization(), err
}

// Get returns a job by its name or bare UUID.
func (j *Jobs) Get(ctx context.Context, name string) (*pb.Stylization, error) {
	response, err := unary(ctx, j.life, j.stub.GetStylization, &pb.GetStylizationRequest{Name: fullName(name)})
	return response.GetStylization(), err
}

// List iterates over all jobs from the page that the request asks for, newest first. An error is the last thing that
// it gives.
func (j *Jobs) List(ctx context.Context, request *pb.ListStylizationsRequest) iter.Seq2[*pb.Stylization, error] {
	return items(request.GetPageToken(), func(token string) ([]*pb.Stylization, string, error) {
		request := copied(request)
		request.PageToken = token
		page, err := j.Page(ctx, request)
		return page.GetStylizations(), page.GetNextPageToken(), err
	})
}

// Page returns one page of jobs, newest first.
func (j *Jobs) Page(ctx context.Context, request *pb.ListStylizationsRequest) (*pb.ListStylizationsResponse, error) {
	return unary(ctx, j.life, j.stub.ListStylizations, request)
}

// Watch watches a job to its end, from after an event that is known already; 0 for none. Leaving changes nothing for
// the job. An interrupted watch resumes after the last event, across restarts of the server and resets by proxies too.
func (j *Jobs) Watch(ctx context.Context, name string, after int64) *Stream {
	begin := func(ctx context.Context, sequence int64) (receive, error) {
		request := &pb.WatchStylizationRequest{Name: fullName(name), AfterSequence: sequence}
		return eventsOf(j.stub.WatchStylization(ctx, request))
	}
	return &Stream{ctx: ctx, life: j.life, begin: begin, isWatch: true, sequence: after}
}

// Cancel cancels a job within one step; a finished one stays as it is.
func (j *Jobs) Cancel(ctx context.Context, name string) (*pb.Stylization, error) {
	response, err := unary(ctx, j.life, j.stub.CancelStylization, &pb.CancelStylizationRequest{Name: fullName(name)})
	return response.GetStylization(), err
}

// Delete deletes a finished job and its images.
func (j *Jobs) Delete(ctx context.Context, name string) error {
	_, err := unary(ctx, j.life, j.stub.DeleteStylization, &pb.DeleteStylizationRequest{Name: fullName(name)})
	return err
}

// Download returns an image of a job: its result, its latest preview, or the photo.
func (j *Jobs) Download(ctx context.Context, name string, kind pb.Stylization_ImageKind) (*Image, error) {
	ctx, cancel := limited(ctx, j.life, callTimeout)
	defer cancel()
	request := &pb.GetStylizationImageRequest{Name: fullName(name), Kind: kind}
	return retried(ctx, func() (*Image, error) { return receiveImage(j.stub.GetStylizationImage(ctx, request)) })
}

// Upload sends a large photo in parts; Create takes the name of the upload.
func (j *Jobs) Upload(ctx context.Context, photo []byte) (*pb.UploadImageResponse, error) {
	ctx, cancel := limited(ctx, j.life, callTimeout)
	defer cancel()
	return retried(ctx, func() (*pb.UploadImageResponse, error) {
		call, err := j.stub.UploadImage(ctx)
		if err != nil {
			return nil, err
		}
		for message := range uploadMessages(photo) {
			if call.Send(message) != nil {
				break // CloseAndRecv has the reason
			}
		}
		return call.CloseAndRecv()
	})
}

func uploadMessages(photo []byte) iter.Seq[*pb.UploadImageRequest] {
	return func(yield func(*pb.UploadImageRequest) bool) {
		digest := sha256.Sum256(photo)
		header := &pb.UploadImageRequest_Header{SizeBytes: int64(len(photo)), Sha256: digest[:]}
		if !yield(&pb.UploadImageRequest{Part: &pb.UploadImageRequest_Header_{Header: header}}) {
			return
		}
		for len(photo) > 0 {
			size := min(len(photo), uploadChunkSize)
			if !yield(&pb.UploadImageRequest{Part: &pb.UploadImageRequest_Data{Data: photo[:size]}}) {
				return
			}
			photo = photo[size:]
		}
	}
}

// copied returns a copy of a request, an empty one of nil.
func copied[M any, P interface {
	*M
	proto.Message
}](request P) P {
	if request == nil {
		return new(M)
	}
	return proto.CloneOf(request)
}

// fullName completes a bare UUID to a resource name.
func fullName(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return "stylizations/" + name
}

func newUUID4() string {
	var id [16]byte
	rand.Read(id[:]) // never fails
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
