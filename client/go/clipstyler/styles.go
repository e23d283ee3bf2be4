package clipstyler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"iter"
	"os"
	"strings"

	pb "clipstyler.dev/client/go/clipstylerv1"
	"google.golang.org/protobuf/proto"
)

// Styles has the calls on styles: fitted once, applied to any number of photos. Names may be bare SHA-256 digests. A
// call whose context has no deadline takes at most a minute, Apply as long as its photos.
type Styles struct {
	stub pb.StyleServiceClient
	life context.Context // ends when the client is closed
}

// StyledPhoto is what became of one photo of a call.
type StyledPhoto struct {
	// Index is the number of the photo, from 0 in the order in which they were sent.
	Index int
	// Image is what the style makes of it; nil if there is an error.
	Image *Image
	// Err is the [*Error] why there is no image; nil if there is one.
	Err error
}

// Create makes a style of a finished job that was created with the option keep_style.
func (s *Styles) Create(ctx context.Context, job string) (*pb.Style, error) {
	response, err := unary(ctx, s.life, s.stub.CreateStyle, &pb.CreateStyleRequest{Stylization: fullName(job)})
	return response.GetStyle(), err
}

// Fit creates a job that fits a style to the text and the photos of the request's fit, at most 16, which take turns;
// without photos, to a few that come with the server. Jobs watches and cancels it, and its result names the style.
// Retries create it once: the call is idempotent by its request id, which is drawn if the request has none.
func (s *Styles) Fit(ctx context.Context, request *pb.CreateStyleRequest) (*pb.Stylization, error) {
	if request.GetRequestId() == "" {
		request = copied(request)
		request.RequestId = newUUID4()
	}
	response, err := unary(ctx, s.life, s.stub.CreateStyle, request)
	return response.GetStylization(), err
}

// Get returns a style, with its thumbnail.
func (s *Styles) Get(ctx context.Context, name string) (*pb.Style, error) {
	response, err := unary(ctx, s.life, s.stub.GetStyle, &pb.GetStyleRequest{Name: styleName(name)})
	return response.GetStyle(), err
}

// List iterates over all styles from the page that the request asks for: the bundled ones, then others, newest first.
// An error is the last thing that it gives.
func (s *Styles) List(ctx context.Context, request *pb.ListStylesRequest) iter.Seq2[*pb.Style, error] {
	return items(request.GetPageToken(), func(token string) ([]*pb.Style, string, error) {
		request := copied(request)
		request.PageToken = token
		page, err := s.Page(ctx, request)
		return page.GetStyles(), page.GetNextPageToken(), err
	})
}

// Page returns one page of styles.
func (s *Styles) Page(ctx context.Context, request *pb.ListStylesRequest) (*pb.ListStylesResponse, error) {
	return unary(ctx, s.life, s.stub.ListStyles, request)
}

// Delete deletes a style that is not bundled.
func (s *Styles) Delete(ctx context.Context, name string) error {
	_, err := unary(ctx, s.life, s.stub.DeleteStyle, &pb.DeleteStyleRequest{Name: styleName(name)})
	return err
}

// Download returns the file of a style, checked against its name.
func (s *Styles) Download(ctx context.Context, name string) ([]byte, error) {
	ctx, cancel := limited(ctx, s.life, callTimeout)
	defer cancel()
	file, err := retried(ctx, func() ([]byte, error) { return s.file(ctx, name) })
	if err != nil {
		return nil, err
	}
	if digest := sha256.Sum256(file); styleName(hex.EncodeToString(digest[:])) != styleName(name) {
		return nil, broken("a file with the digest %x arrived for %s", digest, styleName(name))
	}
	return file, nil
}

func (s *Styles) file(ctx context.Context, name string) (file []byte, err error) {
	call, err := s.stub.DownloadStyle(ctx, &pb.DownloadStyleRequest{Name: styleName(name)})
	if err != nil {
		return nil, err
	}
	for {
		part, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return file, nil
		}
		if err != nil {
			return nil, err
		}
		file = append(file, part.GetData()...)
	}
}

// Upload stores the file of a style.
func (s *Styles) Upload(ctx context.Context, file []byte) (*pb.Style, error) {
	response, err := unary(ctx, s.life, s.stub.UploadStyle, &pb.UploadStyleRequest{Data: file})
	return response.GetStyle(), err
}

// Apply applies a style to photos and iterates over what becomes of each, as it is done. Leaving the range ends the call.
//
// Photos are taken from their source in another goroutine, as fast as the server takes them, and results wait at the
// server until they are received. A photo that cannot be used has an error of its own, and the others go on. An error
// is the last thing that it gives: an [*Error] of the call, or what the source gave, after the photos before that.
func (s *Styles) Apply(
	ctx context.Context, application *pb.StyleApplication, photos iter.Seq2[*pb.StylePhoto, error],
) iter.Seq2[StyledPhoto, error] {
	return func(yield func(StyledPhoto, error) bool) {
		ctx, cancel := during(ctx, s.life)
		defer cancel()
		applying := &applying{stub: s.stub, application: completed(application), photos: take(ctx, photos)}
		if err := applying.play(ctx, yield); err != nil {
			yield(StyledPhoto{}, err)
		}
	}
}

// Render draws one photo in a style, or in that of a finished job which kept it; without a photo, that of the job.
func (s *Styles) Render(ctx context.Context, request *pb.RenderStyleRequest) (*Image, error) {
	ctx, cancel := limited(ctx, s.life, callTimeout)
	defer cancel()
	request = copied(request)
	request.Application = completed(request.GetApplication())
	if request.GetStylization() != "" {
		request.Stylization = fullName(request.GetStylization())
	}
	return retried(ctx, func() (*Image, error) { return receiveImage(s.stub.RenderStyle(ctx, request)) })
}

// PhotoFiles gives the photos in files to [Styles.Apply]; each is read when it is due.
func PhotoFiles(paths ...string) iter.Seq2[*pb.StylePhoto, error] {
	return func(yield func(*pb.StylePhoto, error) bool) {
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if !yield(&pb.StylePhoto{Photo: &pb.StylePhoto_Image{Image: data}}, err) || err != nil {
				return
			}
		}
	}
}

// completed returns a copy whose names of styles are complete.
func completed(application *pb.StyleApplication) *pb.StyleApplication {
	if application == nil {
		return nil
	}
	application = proto.CloneOf(application)
	application.Style, application.SecondStyle = styleName(application.GetStyle()), styleName(application.GetSecondStyle())
	return application
}

// styleName completes a bare SHA-256 to a resource name.
func styleName(name string) string {
	if name == "" || strings.Contains(name, "/") {
		return name
	}
	return "styles/" + name
}
